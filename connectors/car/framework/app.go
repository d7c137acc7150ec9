package framework

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
)

// App is a connector's program.
type App struct {
	// Name of the program; it is the connector's name in the logs unless an
	// option or the pod's configuration gives another.
	Name    string
	Version string
	// Options beside those of the framework.
	Options []Option
	// Setup is called once, when the options have their values.
	Setup func(ctx context.Context, run *Run) (Connector, error)
}

// Run is what a connector may use while it runs.
type Run struct {
	// Source is the unique id of the data source.
	Source string
	// Log writes the lines of the run.
	Log *slog.Logger
	// Client speaks to the CAR service. A connector normally does not need it.
	Client *car.Client
	// Debug reports whether the option for it is given.
	Debug bool
}

// Environment is where a program runs.
type Environment struct {
	// Getenv returns the value of an environment variable.
	Getenv func(name string) string
	// SecretsDir is the folder of encrypted secrets; see [SecretsDir].
	SecretsDir string
	// Dir is the working directory.
	Dir string
}

// Main runs the program as a process and returns its exit code. SIGINT and
// SIGTERM end the run in order; a second one ends the process.
func (a App) Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(collectAt)
		debug.SetMemoryLimit(softLimit)
	}
	return a.Run(ctx, os.Args[1:], Environment{Getenv: os.Getenv, SecretsDir: SecretsDir, Dir: "."}, os.Stderr)
}

// Garbage is collected early: most of what a run holds are hashes, which cost a
// collection nothing.
const (
	collectAt = 25       // percent above what is held
	softLimit = 72 << 20 // bytes
)

// Run runs the program once and returns its exit code. Log lines, and mistakes
// in arguments, go to stderr. When ctx ends, the run ends in order: what was
// read is imported, and the exit code is 130.
func (a App) Run(ctx context.Context, args []string, env Environment, stderr io.Writer) int {
	s, err := readOptions(&a, args, env)
	if err == nil {
		var client *car.Client
		if client, err = s.client(env); err == nil {
			defer client.Close()
			return a.start(ctx, s, client, newLog(stderr, s))
		}
	}
	fmt.Fprint(stderr, usageText(&a))
	if errors.Is(err, errHelp) {
		return gapless.ExitComplete
	}
	fmt.Fprintf(stderr, "%s: %v\n", a.Name, err)
	return gapless.ExitUsage
}

// start sets the connector up, and tests the connection or imports.
func (a App) start(ctx context.Context, s *settings, client *car.Client, log *slog.Logger) int {
	connector, err := a.setup(ctx, &Run{Source: s.source, Log: log, Client: client, Debug: s.debug})
	if err != nil {
		log.Error("The connector cannot be set up: "+err.Error(), "error", err)
		return exitCode(err)
	}
	if s.test {
		return testConnection(ctx, connector.AssetServer, log)
	}
	return (&importRun{settings: s, connector: connector, client: client, log: log}).run(ctx)
}

func (a App) setup(ctx context.Context, run *Run) (connector Connector, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	connector, err = a.Setup(ctx, run)
	if err == nil && connector.Full == nil {
		err = gapless.Misconfigured(errors.New("the connector has no full import"))
	}
	return connector, err
}

// testConnection makes no request to the CAR service.
func testConnection(ctx context.Context, server AssetServer, log *slog.Logger) (exit int) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("The connection test has failed.", "error", &panicError{v, debug.Stack()})
			exit = gapless.ExitUnknown
		}
	}()
	err := DatasourceFailure(errors.New("the connector cannot test the connection"), CodeUnknown)
	if server != nil {
		err = server.TestConnection(ctx)
	}
	if err != nil {
		log.Error("The connection test has failed: "+err.Error(), "error", err)
		return exitCode(err)
	}
	log.Info("The connection test was successful.")
	return gapless.ExitComplete
}
