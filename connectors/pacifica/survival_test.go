package pacifica

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// ingests is an installation whose few transactions have files that come, change
// and go.
type ingests struct {
	*installation
	policy string                        // address of the policy server, behind a breaker
	files  [6]map[string]json.RawMessage // of each transaction, by id
}

func newIngests(t testing.TB, b *gaplesstest.Breaker) *ingests {
	t.Helper()
	a := &ingests{installation: newInstallation(t)}
	listener := httptest.NewServer(b.Handler(a.installation.policy.Config.Handler))
	t.Cleanup(listener.Close)
	a.policy = listener.URL
	return a
}

// edit gives the file of a name, whose number is its id, other content; revision
// 0 removes it.
func (a *ingests) edit(t testing.TB, name string, revision int) {
	t.Helper()
	id, err := strconv.Atoi(strings.TrimPrefix(name, "r-"))
	must(t, err)
	number := id % len(a.files)
	files := a.files[number]
	if files == nil {
		files = map[string]json.RawMessage{}
		a.files[number] = files
	}
	key := strconv.Itoa(id)
	if delete(files, key); revision > 0 {
		files[key] = fmt.Appendf(nil, `{"_id": %d, "name": "f", "subdir": %q, "size": 1, "hashtype": "sha1", "hashsum": %q, "n": %d}`, id, key, sha1Of(strconv.Itoa(revision)), revision)
	}
	doc, err := json.Marshal(map[string]any{"_id": number, "files": files})
	must(t, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.transactions[strconv.Itoa(number)] = string(doc)
}

func (a *ingests) open(t testing.TB) gapless.Source {
	t.Helper()
	values := map[string]any{"cart": a.URL, "policy": a.policy, "transactions": []any{"0-5"}, "token": "t0ken"}
	opened, err := Connector().Source.Open(t.Context(), values, gapless.Env{Connector: "c", Dir: t.TempDir(), State: t.TempDir()})
	must(t, err)
	access := &opened.(*source).policy.server.access
	access.sleep, access.Retries = noSleep, 0
	return opened
}

// TestSourceSurvival reads the files that a policy server tells of.
func TestSourceSurvival(t *testing.T) {
	t.Parallel()
	gaplesstest.CheckSource(t, gaplesstest.SourceCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.SourceSystem {
		b.EmptyPage = func(r *http.Request, body []byte) []byte {
			if !gjson.GetBytes(body, "files").Exists() {
				return body
			}
			return fmt.Appendf(nil, `{"_id": %s, "files": {}}`, filepath.Base(r.URL.Path))
		}
		a := newIngests(t, b)
		return gaplesstest.SourceSystem{
			Open:   func() gapless.Source { return a.open(t) },
			Put:    func(name string, revision int) { a.edit(t, name, revision) },
			Remove: func(name string) { a.edit(t, name, 0) },
			Read: func(p gapless.Partition, c gapless.Change) (string, int) {
				if p.Collection != collectionFile {
					return "", 0 // transactions are told of, too
				}
				id, err := strconv.Atoi(c.Key)
				must(t, err)
				return fmt.Sprintf("r-%04d", id), int(gjson.GetBytes(c.Data, "n").Int())
			},
		}
	}})
}
