package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/catalog"
	"github.com/gapless-sync/gapless/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gapless": func() { os.Exit(cli.Main(catalog.Builtin().With(endless()))) },
	})
}

// TestScripts runs the commands of every script and compares what they print.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cartserver": cartServer, "webserver": webServer, "fill": fill, "ingest": ingest, "damage": damage,
			"exits":   exits,
			"await":   await,
			"httpget": httpGet,
			"approve": approve,
			"carsend": carSend,
			"plant":   plant,
			"resolve": resolve,
			"drift":   drift, "approverepair": approverepair,
			"lastrun": lastRun,
		},
	})
}

// exits CODE COMMAND... executes a command and wants that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		code = -1
		if _, text, found := strings.Cut(err.Error(), "exit status "); found {
			if _, err := fmt.Sscan(text, &code); err != nil {
				ts.Fatalf("%v", err)
			}
		}
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d (%v), want %s", code, err, args[0])
	}
}

// await FILE waits until a file exists, and fails after a minute.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	name := ts.MkAbs(args[0])
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		if _, err := os.Stat(name); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("%s does not appear", args[0])
		}
	}
}

// httpGet PATH [HOST] asks the daemon of the current folder over HTTP and
// prints status and body.
func httpGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: httpget PATH [HOST]")
	}
	ts.Check(ts.Exec("gapless", "status", "--json"))
	var status struct{ Daemon struct{ Address string } }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &status))
	request, err := http.NewRequest(http.MethodGet, "http://"+status.Daemon.Address+args[0], http.NoBody)
	ts.Check(err)
	if len(args) > 1 {
		request.Host = args[1]
	}
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	ts.Check(response.Body.Close())
	fmt.Fprintf(ts.Stdout(), "%s\n%s", response.Status, body)
}

// endless is a source that emits ten records and then waits until the run is
// stopped; it creates the file named when it waits.
func endless() gapless.Connector {
	return gapless.Connector{
		Name: "endless", Summary: "Waits until it is stopped", Example: "endless:\n  marker: waiting",
		Source: gapless.OpenSource(func(_ context.Context, e endlessSource, env gapless.Env) (gapless.Source, error) {
			e.Marker = filepath.Join(env.Dir, e.Marker)
			return e, nil
		}),
	}
}

type endlessSource struct {
	Marker string `option:"marker,required" help:"File to create when waiting." example:"waiting"`
}

func (endlessSource) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{"item"}}, nil
}

func (e endlessSource) ReadAll(ctx context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	for i := range 10 {
		if err := out.Upsert(gapless.Record{Key: fmt.Sprint(i), Data: []byte(`{}`)}); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := os.WriteFile(e.Marker, nil, 0o600); err != nil {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// lastrun sets $RUN to the run that was printed last.
func lastRun(ts *testscript.TestScript, neg bool, args []string) {
	id := namedID.FindString(ts.ReadFile("stdout"))
	if neg || len(args) != 0 || id == "" {
		ts.Fatalf("usage: lastrun, after a run")
	}
	ts.Setenv("RUN", id)
}

// approve runs with the approval of the plan that was printed as JSON.
func approve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: approve")
	}
	var plans []struct{ ID string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &plans))
	ts.Check(ts.Exec("gapless", "run", "--approve", plans[0].ID))
}
