package cli_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// carSend METHOD PATH [FILE] sends a request to a CAR service on the hub of the
// project in the current folder, which nothing else has open.
func carSend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: carsend METHOD PATH [FILE]")
	}
	body := io.Reader(http.NoBody)
	if len(args) == 3 {
		body = strings.NewReader(ts.ReadFile(args[2]))
	}
	h, err := hub.Open(context.Background(), hub.Options{Dir: ts.MkAbs(".gapless/hub")})
	ts.Check(err)
	s, err := server.New(server.Options{Store: service.CARStore(h)})
	ts.Check(err)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(args[0], args[1], body))
	ts.Check(s.Close())
	ts.Check(h.Close())
	if w.Code/100 != 2 {
		ts.Fatalf("%s %s: %d %s", args[0], args[1], w.Code, w.Body)
	}
	_, err = io.Copy(ts.Stdout(), w.Body)
	ts.Check(err)
}
