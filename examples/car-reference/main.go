// Command car-reference is a CAR connector, complete and small, together with
// the data source that it reads: with the argument serve it is that source.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gapless-sync/gapless/connectors/car/framework"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(serve(os.Args[2:]))
	}
	os.Exit(app().Main())
}

func app() framework.App {
	var server, token string
	return framework.App{
		Name: "car-reference", Version: "1.0.0",
		Options: []framework.Option{
			{Flag: "server", Env: "CONNECTION_HOST", Required: true, Value: &server, Help: "URL of the data source, such as http://127.0.0.1:8090."},
			{Flag: "token", Env: "CONFIGURATION_AUTH_TOKEN", Secret: true, Value: &token, Help: "Token of the data source, if it asks for one."},
		},
		Setup: func(context.Context, *framework.Run) (framework.Connector, error) {
			return newConnector(newSource(server, token)), nil
		},
	}
}

// serve is the data source as a process.
func serve(args []string) int {
	flags := flag.NewFlagSet("car-reference serve", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8090", "address to listen on")
	assets := flags.Int("assets", 1000, "number of assets there are at the start")
	changes := flags.Int("changes", 10_000, "number of changes that are remembered")
	if flags.Parse(args) != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: *listen, Handler: newData(*assets, *changes, os.Getenv("DATA_TOKEN")), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("serving %d assets on http://%s\n", *assets, *listen)
	if err := server.ListenAndServe(); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
