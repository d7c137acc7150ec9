package framework

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// importRun is one run that imports.
type importRun struct {
	*settings
	connector Connector
	client    *car.Client
	log       *slog.Logger
	// onStep is called at the steps of the collection; tests die there.
	onStep func(name string)
	// syncRecords is how many rows are pushed between checkpoints; 0 is the
	// engine's default.
	syncRecords int
}

// stopGrace is how long a run that was told to stop may take to push and sync
// what it has read.
const stopGrace = 20 * time.Second

// client returns the client of the service that the settings name.
func (s *settings) client(env Environment) (*car.Client, error) {
	o := car.ClientOptions{URL: s.url, Key: s.key, Password: gapless.Secret(s.password)}
	if s.token != "" {
		o = car.ClientOptions{URL: s.tokenURL, Token: gapless.Secret(s.token)}
	}
	for _, name := range []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} {
		path := env.Getenv(name)
		if path == "" || o.TLS != nil {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: %s holds no certificate", name, path)
		}
		o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return car.NewClient(o)
}

// run imports once and returns the exit code.
func (r *importRun) run(ctx context.Context) int {
	r.log.Info("Attempting incremental import...")
	summary, err := r.perform(ctx)
	if err != nil && summary.Status == string(plan.OutcomeUnrecoverable) {
		err = errors.Join(err, r.forgetModelState(ctx))
	}
	exit := exitCode(err)
	switch {
	case err == nil:
		r.log.Info("Done.")
	case exit == gapless.ExitInterrupted:
		r.log.Warn("The run was told to stop; the next one goes on.")
	default:
		message := "The import has failed: " + err.Error()
		if hint := hintFor(err); hint != "" {
			message += " (" + hint + ")"
		}
		r.log.Error(message, "exit", exit, "error", err)
	}
	return exit
}

// hintFor says what to do about an error, where the options are those of a
// connector.
func hintFor(err error) string {
	coded, ok := errors.AsType[*gapless.Error](err)
	if !ok {
		return ""
	}
	switch coded.Code {
	case gapless.CodeRejectedRecords:
		return "the warnings name the rows and their reasons; correct them and run once with -full"
	case gapless.CodeGuard, gapless.CodeEmptySource:
		return "look at what the data source delivers; if that is right, run once with -approve-shrink, or approve it at the service"
	}
	return gapless.HintFor(coded)
}

// forgetModelState has every connector of this source begin anew. The cause
// decides the exit code, even if this fails.
func (r *importRun) forgetModelState(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	err := r.client.PatchSource(ctx, r.source, map[string]any{"model_state_id": ""})
	if err == nil {
		r.log.Warn("The model state was taken back: the next import will be full.")
		return nil
	}
	r.log.Error("The model state could not be taken back; the next import will be full if what is remembered in "+r.stateDir+" is still there.", "error", err)
	return nil
}

// perform runs the engine over the author's hooks.
func (r *importRun) perform(ctx context.Context) (summary engine.Summary, err error) {
	store, err := sqlite.Open(ctx, r.stateDir)
	if err != nil {
		return summary, fmt.Errorf("open state: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	source := r.importer()
	e, err := r.engine(source, store)
	if err != nil {
		return summary, err
	}
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(stopGrace, func() { cancel(gapless.ErrInterrupted) })
		context.AfterFunc(running, func() { timer.Stop() })
	})
	defer stop()
	summary, err = e.Run(running, engine.RunOptions{Full: r.full, Stop: ctx.Done()})
	complete := summary.Status == string(plan.OutcomeComplete)
	if complete {
		r.report(source.totals)
	}
	for _, note := range summary.Notes {
		r.log.Warn(note)
	}
	return summary, errors.Join(err, source.tidy(complete))
}

func (r *importRun) importer() *importer {
	i := &importer{
		Connector: r.connector, source: r.source, dir: filepath.Join(r.exportDir, "journal-"+r.id()), keep: r.keep, log: r.log,
		service: r.client, step: r.onStep,
	}
	if i.step == nil {
		i.step = func(string) {}
	}
	if x := r.connector.Extension; x != nil {
		for _, name := range gjson.GetBytes(x.Schema, "vertices.#.name").Array() {
			i.vertices = append(i.vertices, name.String())
		}
	}
	return i
}

// id names the source in file names.
func (r *importRun) id() string {
	sum := sha256.Sum256([]byte(r.source))
	return hex.EncodeToString(sum[:8])
}

func (r *importRun) engine(source *importer, store state.Store) (*engine.Engine, error) {
	destination, err := car.NewDestination(r.client, car.DestinationOptions{
		Source: r.source, Description: r.connector.Description, SourceFields: r.connector.SourceFields, ReportFields: r.connector.ReportFields,
		Model: true, State: r.stateDir, PageRows: r.pageRows, Extension: r.connector.Extension, ApproveShrink: r.approveShrink,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the import: %w", err)
	}
	e, err := engine.New(engine.Config{
		Connector: r.source, Source: source, Destination: adopting{destination, store, r.log}, Store: store,
		Dir: filepath.Join(r.stateDir, "fingerprints-"+r.id()),
		// The client repeats requests, and hooks are called once.
		Settings: engine.Settings{Attempts: 1, Memory: 8 << 20, SyncRecords: r.syncRecords},
		Events:   r.tell,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the run: %w", err)
	}
	return e, nil
}

// tell logs what the engine does.
func (r *importRun) tell(e engine.Event) {
	switch e.Type {
	case engine.EventPlan:
		level := slog.LevelDebug
		if e.Mode == string(plan.ModeFull) || e.Mode == string(plan.ModeNothing) {
			level = slog.LevelInfo
		}
		r.log.Log(context.Background(), level, "The import is "+describeMode(e.Mode)+": "+e.Message+".", "rule", e.Rule)
	case engine.EventRetry:
		r.log.Warn(e.Message)
	case engine.EventCheckpoint:
		r.log.Debug("Everything so far is imported.", "rows", e.Progress.Synced)
	}
}

func describeMode(mode string) string {
	switch mode {
	case string(plan.ModeNothing):
		return "empty"
	case string(plan.ModeResume):
		return "the rest of a full one"
	}
	return mode
}

// report logs how many rows of each collection there were.
func (r *importRun) report(totals map[string]*counts) {
	var vertices, edges, gone, disabled tally
	for _, name := range slices.Sorted(maps.Keys(totals)) {
		c := totals[name]
		if c.Edges {
			edges.add(name, c.Rows)
			disabled.add(name, c.Deleted)
		} else {
			vertices.add(name, c.Rows)
			gone.add(name, c.Deleted)
		}
		if c.Duplicates+c.Conflicts+c.Invalid > 0 {
			r.log.Warn("Not every row was sent.", "collection", name, "duplicates", c.Duplicates, "conflicts", c.Conflicts, "invalid", c.Invalid)
		}
	}
	r.log.Info("Creating vertices: done {" + string(vertices) + "}")
	r.log.Info("Creating edges: done {" + string(edges) + "}")
	if len(gone) > 0 {
		r.log.Info("Deleting vertices: done {" + string(gone) + "}")
	}
	if len(disabled) > 0 {
		r.log.Info("Disabling edges: done {" + string(disabled) + "}")
	}
}

// tally is a list of numbers by collection, for people.
type tally string

func (t *tally) add(name string, n int) {
	if n == 0 {
		return
	}
	if *t != "" {
		*t += ", "
	}
	*t += tally(fmt.Sprintf("%s: %d", name, n))
}
