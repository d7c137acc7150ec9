package service

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
)

// carts is a cart door on loopback.
type carts struct {
	address string
	client  *http.Client
}

func openCarts(t *testing.T, o cartOptions, h *hub.Hub) *carts {
	t.Helper()
	o.Dir = t.TempDir()
	d, err := newCartDoor(o, h)
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(d)
	c := &carts{listener.URL, &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		c.client.CloseIdleConnections()
		listener.Close()
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// ask sends a request with credentials: a bearer token, or a password of key.
func (c *carts) ask(t *testing.T, method, path, credentials, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token, ok := strings.CutPrefix(credentials, "bearer "); ok {
		r.Header.Set("Authorization", "Bearer "+token)
	} else if credentials != "" {
		r.SetBasicAuth("key", credentials)
	}
	response, err := c.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// order makes a cart of files by their ids, waits for it, and returns what is
// in it, or its message.
func (c *carts) order(t *testing.T, credentials string, contents map[string]string) (files map[string]string, message string) {
	t.Helper()
	var list []string
	for id, content := range contents {
		sum := sha256.Sum256([]byte(content))
		list = append(list, fmt.Sprintf(`{"id":%q,"path":%q,"hashtype":"sha256","hashsum":%q}`, id, id, hex.EncodeToString(sum[:])))
	}
	if r, text := c.ask(t, "POST", "/cart", credentials, `{"fileids":[`+strings.Join(list, ",")+`]}`); r.StatusCode != http.StatusCreated {
		t.Fatal(r.Status, text)
	}
	for status := "staging"; status == "staging"; {
		r, _ := c.ask(t, "HEAD", "/cart", credentials, "")
		status, message = r.Header.Get("X-Pacifica-Status"), r.Header.Get("X-Pacifica-Message")
	}
	_, archive := c.ask(t, "GET", "/cart?filename=", credentials, "")
	files = map[string]string{}
	members := tar.NewReader(strings.NewReader(archive))
	for message == "" {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(members)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(content)
	}
	return files, message
}

func TestCartsOfAFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a"), []byte("A"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := openCarts(t, cartOptions{Root: root, Users: map[string]string{"key": carHash}, Tokens: map[string]string{"key": carHash}}, nil)
	for _, credentials := range []string{"", "wrong", "bearer wrong", "bearer "} {
		if r, _ := c.ask(t, "GET", "/", credentials, ""); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %s", credentials, r.Status)
		}
	}
	for _, credentials := range []string{"secret", "bearer secret", "bearer secret"} {
		want := map[string]string{"a": "A"}
		if got, message := c.order(t, credentials, want); message != "" || !cmp.Equal(want, got) {
			t.Errorf("%q: %v %s", credentials, got, message)
		}
	}
	if r, _ := c.ask(t, "DELETE", "/cart", "secret", ""); r.StatusCode != http.StatusOK {
		t.Error(r.Status)
	}
	if r, _ := c.ask(t, "HEAD", "/cart", "bearer secret", ""); r.StatusCode != http.StatusNoContent {
		t.Errorf("the token's cart went with that of the user of the same name: %s", r.Status)
	}
}

func TestCartsOfAHub(t *testing.T) {
	t.Parallel()
	h, err := opened(t).Hub(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := h.Session(t.Context(), "lab", 1)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("0123456789", 100_000)
	push := func(key string, parts ...gapless.Part) {
		t.Helper()
		b := &gapless.Batch{Partition: gapless.Partition{ID: "file", Collection: "file"}}
		b.Append(gapless.Change{Op: gapless.OpUpsert, Record: gapless.Record{Key: key, Data: []byte(`{}`), Modified: time.Unix(1e9, 0), Parts: parts}})
		if _, err := session.Push(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if _, err := session.Sync(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	push("1100", textPart("content", long))
	push("a/b", textPart("one", "1"), textPart("two", "2"))
	push("none")
	c := openCarts(t, cartOptions{Parts: "lab/file"}, h)
	want := map[string]string{"1100": long, "a/b/one": "1", "a/b/two": "2"}
	if got, message := c.order(t, "", want); message != "" || !cmp.Equal(want, got) {
		t.Errorf("%d files %s", len(got), message)
	}
	for _, id := range []string{"a/b", "a/b/three", "a", "none", "none/x", "1100/two", "1101"} {
		if _, message := c.order(t, "", map[string]string{id: "x"}); !strings.Contains(message, "there is no such file") {
			t.Errorf("%s: %q", id, message)
		}
	}
	got, message := c.order(t, "", map[string]string{"1100": long})
	if message != "" || got["1100"] != long {
		t.Fatal(message)
	}
	push("1100", textPart("content", strings.Replace(long, "9", "8", 1)))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.address+"/cart?filename=", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.client.Do(r)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if err == nil {
		t.Error("a record that has changed since was sent as if it were what was ordered")
	}
}

func textPart(name, content string) gapless.Part {
	return gapless.Part{Name: name, Size: int64(len(content)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

func TestCartsThatCannotStart(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, tt := range []struct {
		name string
		o    cartOptions
	}{
		{"neither folder nor parts", cartOptions{}},
		{"both", cartOptions{Root: root, Parts: "lab/file"}},
		{"parts of no collection", cartOptions{Parts: "lab"}},
		{"a folder that is not there", cartOptions{Root: filepath.Join(root, "none")}},
		{"a hash that is none", cartOptions{Root: root, Users: map[string]string{"key": "secret"}}},
		{"a token's hash that is none", cartOptions{Root: root, Tokens: map[string]string{"key": "secret"}}},
		{"no folder for the carts", cartOptions{Root: root}},
	} {
		if d, err := newCartDoor(tt.o, nil); err == nil {
			t.Errorf("%s: no error", tt.name)
			_ = d.Close()
		}
	}
}
