package cli

import (
	"context"
	"errors"
	"log/slog"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/service"
)

type serveOptions struct {
	projectFlags
	listen string
}

func newServe(w *world) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve [CONFIG]",
		Short: "Own the project and answer for it until interrupted",
		Long: `Opens the project's stores and keeps them open. Over HTTP on loopback it answers
/healthz, /metrics (Prometheus), /status and /search?q= (JSON). Other commands of
this project are executed by it, through a socket in the state folder, and print
what they always print.

The first interrupt ends runs under way in good order and then the daemon; the
second ends everything at once.`,
		Example: `  gapless serve
  gapless serve examples/quickstart --listen 127.0.0.1:9000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.daemon != nil {
				return usage("the daemon cannot start another")
			}
			l, err := w.locate(&o.projectFlags, args)
			if err != nil {
				return err
			}
			return w.serve(cmd.Context(), l, o)
		},
	}
	o.projectFlags.add(cmd)
	cmd.Flags().StringVar(&o.listen, "listen", service.DefaultListen, "`ADDRESS` of the HTTP listener, on loopback; port 0 takes any")
	return cmd
}

func (w *world) serve(ctx context.Context, l *located, o serveOptions) (err error) {
	w.orderly.Store(true)
	if client := service.Dial(ctx, l.State); client != nil {
		_ = client.Close() // nothing was sent
		return service.OwnedError(l.State)
	}
	p, err := service.OpenProject(ctx, l.Config, w.kinds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	log := w.logger()
	w.catalog.Hubs().Logger = log
	var daemon *service.Service
	daemon, err = service.New(service.Config{
		Project: p, Listen: o.listen, Logger: log, Exec: w.executor(func() *service.Service { return daemon }),
	})
	if err != nil {
		return err
	}
	if err := daemon.Start(ctx); err != nil {
		return err
	}
	log.Info("serving", "config", l.File, "state", l.State, "address", "http://"+daemon.Address())
	select {
	case <-w.stop:
		log.Info("stopping: runs under way end in good order")
	case err = <-daemon.Failed():
	}
	err = errors.Join(err, daemon.Stop())
	log.Info("stopped")
	return err
}

// logger writes for people on a terminal and JSON for everything else.
func (w *world) logger() *slog.Logger {
	if w.color && !w.json {
		return slog.New(tint.NewTextHandler(w.err, nil))
	}
	return slog.New(slog.NewJSONHandler(w.err, nil))
}
