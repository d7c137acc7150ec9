package server_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/transfer"
)

// counted counts how often files are opened.
type counted struct {
	server.Files
	n atomic.Int32
}

func (c *counted) Open(ctx context.Context, wanted transfer.File) (server.Content, error) {
	c.n.Add(1)
	return c.Files.Open(ctx, wanted)
}

// TestRestart ends a server with carts of all kinds and starts another.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir, carts := t.TempDir(), t.TempDir()
	folder, err := server.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	first := serve(t, server.Options{Files: stuck{folder}, Dir: carts})
	first.root = dir
	first.write(t, "a", "A")
	first.write(t, "stuck", "S")
	first.ready(t, "ready", wants("a", "A"))
	_, archive := first.do(t, "GET", "ready?filename=x", "")
	first.ready(t, "old", wants("a", "A"))
	first.ready(t, "removed", wants("a", "A"))
	first.order(t, "failed", wants("none", "A"))
	first.settled(t, "failed")
	first.order(t, "staging", wants("stuck", "S"))
	first.do(t, "DELETE", "removed", "")
	if err := errors.Join(
		first.Close(),
		os.Chtimes(only(t, carts, `"uid":"old"`), noon.Add(-24*time.Hour), noon.Add(-24*time.Hour)),
		os.WriteFile(filepath.Join(carts, "x.cart.y.draft"), []byte(`{"cart":1`), 0o600),
		os.WriteFile(filepath.Join(carts, "damaged.cart"), []byte(`{"cart":1`), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	if r, _ := first.do(t, "GET", "ready", ""); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closed server answers %s", r.Status)
	}

	files := &counted{Files: folder}
	second := serve(t, server.Options{Files: files, Dir: carts})
	second.clock.advance(time.Minute)
	if status, _ := second.settled(t, "ready"); status != "ready" {
		t.Errorf("the cart is %s", status)
	}
	if status, message := second.settled(t, "failed"); status != "error" || message != "file none (none): there is no such file" {
		t.Errorf("the cart that failed is %s %s", status, message)
	}
	if status, _ := second.settled(t, "staging"); status != "ready" || files.n.Load() != 1 {
		t.Errorf("the cart that was staged is %s after %d files were opened", status, files.n.Load())
	}
	for _, uid := range []string{"removed", "old"} {
		if r, _ := second.do(t, "HEAD", uid, ""); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", uid, r.Status)
		}
	}
	if _, again := second.do(t, "GET", "ready?filename=x", ""); again != archive {
		t.Error("the archive has changed")
	}
	if drafts, err := filepath.Glob(filepath.Join(carts, "*.draft")); err != nil || len(drafts) > 0 {
		t.Errorf("%v %v", drafts, err)
	}
	if _, err := os.Stat(filepath.Join(carts, "damaged.cart")); err != nil {
		t.Errorf("a file that is no cart was not left alone: %v", err)
	}
}

// only returns the one file below dir that has a text.
func only(t *testing.T, dir, text string) string {
	t.Helper()
	for name, content := range tree(t, dir) {
		if strings.Contains(content, text) {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("nothing in %s has %s", dir, text)
	return ""
}

// TestDamagedCart cuts the list of a cart that is ready. What it lacks is not
// passed over.
func TestDamagedCart(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	f.write(t, "a", "A")
	f.ready(t, "cart", wants("a", "A"), wants("a", "A"), ordered{"a", "b", "sha1", sha1Of("A")})
	name := only(t, f.carts, `"uid":"cart"`)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	for _, kept := range []string{lines[0] + lines[1], lines[0] + lines[1] + lines[2][:20], lines[0] + lines[1] + "{}x\n", ""} {
		if err := os.WriteFile(name, []byte(kept), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, text := f.do(t, "GET", "cart", ""); r.StatusCode != http.StatusInternalServerError {
			t.Errorf("%s %.100q", r.Status, text)
		}
	}
}

// TestNoRoom takes away the folder of carts: nothing is acknowledged that
// cannot be kept.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	f.write(t, "a", "A")
	if err := os.Remove(f.carts); err != nil {
		t.Fatal(err)
	}
	if r, text := f.do(t, "POST", "cart", body(wants("a", "A"))); r.StatusCode != http.StatusInternalServerError || strings.Contains(text, f.carts) {
		t.Errorf("%s %s", r.Status, text)
	}
	if r, _ := f.do(t, "HEAD", "cart", ""); r.StatusCode != http.StatusNotFound {
		t.Error(r.Status)
	}
}

// processDir is the variable of the environment that makes a test the server.
const processDir = "GAPLESS_CART_PROCESS"

// TestServerProcess is the server that [TestKilledServers] kills.
func TestServerProcess(t *testing.T) {
	dir := os.Getenv(processDir)
	if dir == "" {
		t.Log("not a process of TestKilledServers")
		return
	}
	folder, err := server.OpenFolder(filepath.Join(dir, "files"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Files: folder, Dir: filepath.Join(dir, "carts"), Limits: server.Limits{Carts: 1 << 20, HeldFiles: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(s)
	gaplesstest.Listening(listener.URL + "/")
}

// TestKilledServers kills a server again and again while clients order and
// delete carts. What was acknowledged is there afterwards, whole; what was
// deleted stays away; nothing else is there but what was under way.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fixture{root: filepath.Join(dir, "files"), client: &http.Client{Transport: &http.Transport{}}}
	defer f.client.CloseIdleConnections()
	contents := map[string]string{}
	for i := range 20 {
		path := fmt.Sprintf("%02d", i)
		contents[path] = strings.Repeat(path, 1000*i)
		f.write(t, path, contents[path])
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	// held are carts that have to be there, by the number of their files; and
	// maybe those whose order or deletion was not answered.
	held, maybe := map[string]int{}, map[string]int{}
	next := 0
	for range 6 {
		address, kill := gaplesstest.Child(t, "TestServerProcess", processDir+"="+dir)
		f.address = address
		for uid, n := range held {
			if status, message := f.settled(t, uid); status != "ready" {
				t.Errorf("cart %s is %s %s", uid, status, message)
			}
			_, archive := f.do(t, "GET", uid+"?filename=", "")
			if _, got, err := untar(strings.NewReader(archive)); err != nil || len(got) != n {
				t.Errorf("cart %s has %d files of %d (%v)", uid, len(got), n, err)
			}
		}
		r, list := f.do(t, "GET", "", "")
		if count := strings.Count(list, `"uid"`); r.StatusCode != http.StatusOK || count < len(held) || count > len(held)+len(maybe) {
			t.Errorf("there are %d carts; %d were acknowledged, and %d may be there", count, len(held), len(maybe))
		}
		var killed sync.WaitGroup
		last := 3 + rng.IntN(12)
		for i := range 16 {
			if i == last {
				killed.Go(kill) // while the next one is under way
			}
			if uids := slices.Sorted(maps.Keys(held)); len(uids) > 3 && rng.IntN(3) == 0 {
				uid := uids[rng.IntN(len(uids))]
				maybe[uid] = held[uid]
				delete(held, uid)
				if f.try("DELETE", uid, "") == http.StatusOK {
					delete(maybe, uid)
				}
				continue
			}
			next++
			uid, n := fmt.Sprint(next), 1+rng.IntN(20)
			var list []ordered
			for i := range n {
				path := fmt.Sprintf("%02d", i)
				list = append(list, wants(path, contents[path]))
			}
			maybe[uid] = n
			if f.try("POST", uid, body(list...)) == http.StatusCreated {
				held[uid] = n
				delete(maybe, uid)
			}
		}
		killed.Wait()
		f.client.CloseIdleConnections()
	}
	if len(held) == 0 {
		t.Error("nothing was acknowledged")
	}
}

// try sends a request to a server that may die, and returns the status, 0 if
// there is none.
func (f *fixture) try(method, path, body string) int {
	r, err := http.NewRequestWithContext(context.Background(), method, f.address+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := f.client.Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestOwners has two owners use the same name.
func TestOwners(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{Limits: server.Limits{Carts: 1}, Admit: func(r *http.Request) (string, bool) {
		owner, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return owner, ok && owner != ""
	}})
	f.write(t, "a", "A")
	f.write(t, "b", "B")
	as := func(owner, method, path, body string) (int, string) {
		r, text := f.do(t, method, path, body, "Authorization", owner)
		return r.StatusCode, text
	}
	for owner, order := range map[string]string{"Bearer one": body(wants("a", "A")), "Bearer two": body(wants("b", "B"))} {
		if status, text := as(owner, "POST", "cart", order); status != http.StatusCreated {
			t.Fatal(status, text)
		}
	}
	got := map[string][]string{}
	for _, owner := range []string{"Bearer one", "Bearer two"} {
		for status := 202; status == 202; {
			var archive string
			status, archive = as(owner, "GET", "cart?filename=", "")
			got[owner], _, _ = untar(strings.NewReader(archive))
		}
	}
	if diff := cmp.Diff(map[string][]string{"Bearer one": {"a"}, "Bearer two": {"b"}}, got); diff != "" {
		t.Error(diff)
	}
	if status, _ := as("Bearer one", "DELETE", "cart", ""); status != http.StatusOK {
		t.Error(status)
	}
	if _, list := as("Bearer one", "GET", "", ""); strings.Contains(list, "uid") {
		t.Error(list)
	}
	if status, _ := as("Bearer two", "HEAD", "cart", ""); status != http.StatusNoContent {
		t.Errorf("the cart of another was deleted: %d", status)
	}
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		for _, path := range []string{"", "cart", "cart/status"} {
			if status, _ := as("Bearer ", method, path, body(wants("a", "A"))); status != http.StatusUnauthorized {
				t.Errorf("%s /%s: %d", method, path, status)
			}
		}
	}
}

// TestQuotas covers who makes room for whom.
func TestQuotas(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{Limits: server.Limits{Carts: 3, HeldFiles: 6}})
	f.write(t, "a", "A")
	post := func(uid string, n int) int {
		f.clock.advance(time.Second)
		var files []ordered
		for i := range n {
			files = append(files, ordered{"a", fmt.Sprint(i), "sha1", sha1Of("A")})
		}
		r, _ := f.do(t, "POST", uid, body(files...))
		if r.StatusCode == http.StatusCreated {
			f.settled(t, uid)
		}
		return r.StatusCode
	}
	uids := func() (list []string) {
		_, text := f.do(t, "GET", "", "")
		for _, part := range strings.Split(text, `"uid":"`)[1:] {
			uid, _, _ := strings.Cut(part, `"`)
			list = append(list, uid)
		}
		return list
	}
	for _, step := range []struct {
		name  string
		do    func() int
		want  int
		there string
	}{
		{"three carts", func() int { return max(post("1", 1), post("2", 1), post("3", 1)) }, 201, "1 2 3"},
		{"a fourth", func() int { return post("4", 1) }, 429, "1 2 3"},
		{"the second once more", func() int { return post("2", 2) }, 201, "1 3 2"},
		{"the third is delivered", func() int { r, _ := f.do(t, "GET", "3", ""); return r.StatusCode }, 200, "1 3 2"},
		{"half of the first", func() int { r, _ := f.do(t, "GET", "1", "", "Range", "bytes=0-9"); return r.StatusCode }, 206, "1 3 2"},
		{"a fourth in its place", func() int { return post("4", 2) }, 201, "1 2 4"},
		{"more files than all may have", func() int { return post("5", 7) }, 429, "1 2 4"},
		{"the rest is delivered", func() int {
			for _, uid := range []string{"4", "1", "2"} {
				f.clock.advance(time.Second)
				f.do(t, "GET", uid, "")
			}
			return 200
		}, 200, "1 2 4"},
		{"room for files", func() int { return post("5", 4) }, 201, "2 5"},
		{"too late", func() int { f.clock.advance(24*time.Hour + time.Second); return 200 }, 200, ""},
		{"anew", func() int { return post("2", 6) }, 201, "2"},
	} {
		if status := step.do(); status != step.want || strings.Join(uids(), " ") != step.there {
			t.Errorf("%s: %d, %v; want %d, %s", step.name, status, uids(), step.want, step.there)
		}
	}
	if names, err := filepath.Glob(filepath.Join(f.carts, "*")); err != nil || len(names) != 1 {
		t.Errorf("%v %v", names, err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	folder, err := server.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    server.Options
	}{
		{"no files", server.Options{Dir: t.TempDir()}},
		{"no folder", server.Options{Files: folder}},
		{"a file for a folder", server.Options{Files: folder, Dir: file}},
		{"a negative limit", server.Options{Files: folder, Dir: t.TempDir(), Limits: server.Limits{Files: -1}}},
		{"a negative time", server.Options{Files: folder, Dir: t.TempDir(), Keep: -1}},
	} {
		if s, err := server.New(tt.o); err == nil {
			t.Errorf("%s: no error", tt.name)
			_ = s.Close()
		}
	}
	if _, err := server.OpenFolder(file); err == nil {
		t.Error("a file is taken for a folder of files")
	}
}
