package cli_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// drift CONNECTOR delete=KEY|put=KEY... changes what the hub holds of a
// connector behind everybody's back, but for the hub's.
func drift(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: drift CONNECTOR delete=KEY|put=KEY...")
	}
	ctx := context.Background()
	store, err := sqlite.Open(ctx, ts.MkAbs(".gapless"))
	ts.Check(err)
	known, err := store.Connector(ctx, args[0])
	ts.Check(errors.Join(err, store.Close()))
	h, err := hub.Open(ctx, hub.Options{Dir: ts.MkAbs(".gapless/hub")})
	ts.Check(err)
	s, err := h.Open(ctx, args[0], known.Epoch)
	ts.Check(err)
	b := &gapless.Batch{Partition: gapless.Partition{ID: "record", Collection: "record"}}
	for _, arg := range args[1:] {
		how, key, _ := strings.Cut(arg, "=")
		c := gapless.Change{Record: gapless.Record{Key: key, Data: []byte(`{"planted":true}`)}}
		if how == "delete" {
			c = gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}}
		}
		b.Append(c)
	}
	_, err = s.Push(ctx, b)
	ts.Check(err)
	_, err = s.Sync(ctx, nil)
	ts.Check(errors.Join(err, s.Close(), h.Close()))
}

// approverepair CONNECTOR repairs with the approval that was asked for in what
// was printed as JSON.
func approverepair(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: approverepair CONNECTOR")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
	var last struct{ Hint string }
	ts.Check(json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	words := strings.Fields(last.Hint)
	ts.Check(ts.Exec("gapless", "repair", args[0], "--approve", words[len(words)-1]))
}

// TestVerifyWalk runs the commands of the page about verifying and compares the
// shape of what they print.
func TestVerifyWalk(t *testing.T) {
	t.Parallel()
	follow(t, "docs/verify.md", "/tmp/ledger", 15)
}

// A certificate that was altered, taken away or exchanged is found, whatever it
// was that somebody did to it.
func TestProveFindsTampering(t *testing.T) {
	t.Parallel()
	project := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(project, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gapless.yaml", "connectors:\n  items:\n    from:\n      jsonl: {path: items.jsonl, key: k}\n    to: hub\n")
	for i := range 3 {
		write("items.jsonl", fmt.Sprintf(`{"k":"a","n":%d}`, i))
		if out, code := gaplessIn(t, project, "run"); code != 0 {
			t.Fatalf("run: exit %d\n%s", code, out)
		}
	}
	if out, code := gaplessIn(t, project, "prove"); code != 0 {
		t.Fatalf("untouched: exit %d\n%s", code, out)
	}
	rows := certificatesOf(t, project)
	if len(rows) != 3 {
		t.Fatalf("%d certificates", len(rows))
	}
	type attack struct {
		name string
		do   func(t *testing.T, db *sql.DB)
	}
	set := func(seq int, body []byte) func(*testing.T, *sql.DB) {
		return func(t *testing.T, db *sql.DB) {
			execute(t, db, `UPDATE certificates SET body = $1 WHERE seq = $2`, body, seq)
		}
	}
	attacks := []attack{
		{"first deleted", func(t *testing.T, db *sql.DB) { execute(t, db, `DELETE FROM certificates WHERE seq = 1`) }},
		{"middle deleted", func(t *testing.T, db *sql.DB) { execute(t, db, `DELETE FROM certificates WHERE seq = 2`) }},
		{"end cut off", func(t *testing.T, db *sql.DB) { execute(t, db, `DELETE FROM certificates WHERE seq = 3`) }},
		{"end cut off, with state", func(t *testing.T, db *sql.DB) {
			execute(t, db, `DELETE FROM certificates WHERE seq = 3`)
			c := rows[1].Checkpoint
			execute(t, db, `UPDATE partitions SET checkpoint_run = $1, checkpoint_seq = $2, checkpoint_epoch = $3`, c.Run, c.Seq, c.Epoch)
		}},
		{"all deleted", func(t *testing.T, db *sql.DB) { execute(t, db, `DELETE FROM certificates`) }},
		{"state deleted as well", func(t *testing.T, db *sql.DB) {
			execute(t, db, `DELETE FROM certificates`)
			execute(t, db, `DELETE FROM partitions`)
		}},
		{"exchanged", func(t *testing.T, db *sql.DB) {
			execute(t, db, `UPDATE certificates SET seq = 100 WHERE seq = 2`)
			execute(t, db, `UPDATE certificates SET seq = 2 WHERE seq = 3`)
			execute(t, db, `UPDATE certificates SET seq = 3 WHERE seq = 100`)
		}},
		{"another store", func(t *testing.T, db *sql.DB) {
			execute(t, db, `UPDATE partitions SET destination_id = $1`, []byte("elsewhere"))
		}},
	}
	for i, row := range rows {
		for field, body := range alterations(t, &row) {
			attacks = append(attacks, attack{fmt.Sprintf("%s of %d", field, i+1), set(i+1, body)})
		}
	}
	if len(attacks) < 60 {
		t.Fatalf("just %d attacks", len(attacks))
	}
	for i, a := range attacks {
		if testing.Short() && i > 8 && i%10 != 0 {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(project)); err != nil {
				t.Fatal(err)
			}
			db := stateOf(t, dir)
			a.do(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			out, code := gaplessIn(t, dir, "prove")
			if code != gapless.ExitUnrecoverable {
				t.Errorf("exit %d\n%s", code, out)
			}
		})
	}
}

// alterations returns what a certificate is with each of its fields changed, as
// somebody would who knows the form but not the hash.
func alterations(t *testing.T, c *proof.Certificate) map[string][]byte {
	t.Helper()
	text, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	changed := map[string][]byte{}
	for name, value := range fields {
		other := string(value)
		digit := strings.IndexAny(other, "0123456789")
		switch {
		case other == "true":
			other = "false"
		case other == "false":
			other = "true"
		case digit >= 0:
			other = other[:digit] + string('1'+(other[digit]-'0')%9) + other[digit+1:]
		default:
			other = `"x` + other[1:]
		}
		key := `"` + name + `":`
		body := strings.Replace(string(text), key+string(value), key+other, 1)
		if body == string(text) {
			t.Fatalf("field %s was not altered: %s", name, value)
		}
		changed[name] = []byte(body)
	}
	return changed
}

func gaplessIn(t *testing.T, dir string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command("gapless", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, ".cache"), "GAPLESS_CONFIG=")
	text, err := cmd.CombinedOutput()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), failed.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text), 0
}

func stateOf(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, ".gapless", sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func certificatesOf(t *testing.T, dir string) []proof.Certificate {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, ".gapless"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []proof.Certificate
	for c, err := range store.Certificates(t.Context(), "items") {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, c)
	}
	slices.SortFunc(rows, func(a, b proof.Certificate) int { return int(a.Seq) - int(b.Seq) })
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}
