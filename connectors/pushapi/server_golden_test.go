package pushapi_test

import (
	"bufio"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

// TestServerGolden replays what a client sends, in both dialects: the client
// of this package sends these files too.
func TestServerGolden(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"standard.txtar", "legacy.txtar"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			f := serve(t, openHub(t, t.TempDir(), false), pushapi.ServerOptions{
				Connectors: []string{"wiki"}, Credentials: []pushapi.Credential{{Login: "reader", Hash: secretHash}},
			})
			prepare := func(request string) string {
				return crlf(strings.Replace(request, " HTTP/1.1\n", " HTTP/1.1\nHost: localhost\n", 1))
			}
			readConversation(t, file).replay(t, f, prepare, statusAndBody)
		})
	}
}

// statusAndBody is what the files have of a reply.
func statusAndBody(name, raw string) string {
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	text := string(body)
	if strings.HasPrefix(name, "checkpoint that") {
		text = serials.ReplaceAllString(text, "{serial}")
	}
	if text != "" {
		text += "\n"
	}
	return response.Status[:3] + "\n" + text
}

// TestServerRawGolden has requests as they stand, and replies byte for byte
// but for the date.
func TestServerRawGolden(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"server/http10.txtar", "server/http11.txtar", "server/extensions.txtar"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			f := serve(t, openHub(t, t.TempDir(), false), pushapi.ServerOptions{Connectors: []string{"wiki", "my+source"}})
			prepare := func(request string) string { return crlf(request) }
			readConversation(t, file).replay(t, f, prepare, func(_, raw string) string {
				return date.ReplaceAllString(strings.ReplaceAll(raw, "\r\n", "\n"), "")
			})
		})
	}
}

var date = regexp.MustCompile(`(?m)^Date: .*\n`)
