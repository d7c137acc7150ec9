package cli

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/service"
)

// withProject opens the stores of a project and hands them to body. If a
// daemon owns them, the whole command is executed there instead, and its exit
// code becomes the error.
func (w *world) withProject(ctx context.Context, l *located, body func(ctx context.Context, p *service.Project) error) (err error) {
	if w.daemon != nil {
		p, err := w.daemon.Project.With(l.Config)
		if err != nil {
			return err
		}
		return body(ctx, p)
	}
	if client := service.Dial(ctx, l.State); client != nil {
		return w.forward(ctx, client, l)
	}
	p, err := service.OpenProject(ctx, l.Config, w.kinds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return body(ctx, p)
}

// onChosen is the body of a command that does something with the connectors
// that its arguments name.
func (w *world) onChosen(
	o *projectFlags, do func(ctx context.Context, p *service.Project, chosen []config.Connector) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		l, err := w.locate(o, args)
		if err != nil {
			return err
		}
		chosen, err := l.chosen()
		if err != nil {
			return err
		}
		w.named = l.named
		return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
			return do(ctx, p, chosen)
		})
	}
}

func (w *world) kinds() service.Kinds {
	return service.Kinds{Connectors: w.catalog.Connectors(), Hubs: w.catalog.Hubs()}
}

// forward has the daemon execute this very command line. Interrupts are passed
// on; the command ends when the daemon has ended it.
func (w *world) forward(ctx context.Context, client *service.Client, l *located) error {
	w.orderly.Store(true)
	request := service.Request{
		Args: w.args, Dir: w.dir, Config: l.File, Variables: l.variables, Color: w.color, Width: w.width,
	}
	sink := service.Sink{Out: w.out, Err: w.err, Tick: shown(w.progress)}
	code, err := client.Exec(context.WithoutCancel(ctx), request, sink, w.stop, w.abort)
	if err != nil || code == 0 {
		return err
	}
	return exitError(code)
}

// executor executes the commands that come through the daemon's socket. The
// service exists only after the executor, so it is asked for when it is
// needed.
func (w *world) executor(daemon func() *service.Service) service.Exec {
	return func(ctx context.Context, r service.Request, s service.Streams) int {
		called := &world{
			args: r.Args, dir: r.Dir, out: s.Out, err: s.Err, color: r.Color, width: r.Width,
			lookup:  func(name string) (string, bool) { value, ok := r.Variables[name]; return value, ok },
			catalog: w.catalog, progress: forwarded(func(doc json.RawMessage) { s.Tick(doc) }),
			stop: s.Stop, abort: ctx.Done(), daemon: daemon(), pinned: &pinned{path: r.Config},
		}
		return called.execute(ctx)
	}
}
