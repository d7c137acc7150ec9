package server

import (
	"errors"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

// TestReplacedWhilePinned replaces a cart between the moment in which a
// download pins it and the one in which it reads what is in it.
func TestReplacedWhilePinned(t *testing.T) {
	t.Parallel()
	shelf, err := openShelf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shelf.close() })
	o := Options{Files: &Folder{}, Dir: "x"}
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	cs := &carts{shelf: shelf, limits: o.Limits, keep: o.Keep, now: time.Now, all: map[key]*cart{}}
	k := key{"owner", "uid"}
	ready := func(path string) *cart {
		t.Helper()
		entries := []entry{{ID: "1", Path: path, Algorithm: "md5"}}
		c, err := cs.add(k, order{entries: entries})
		if err := errors.Join(err, cs.settle(c, entries, "")); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := ready("first")
	p, err := cs.pin(k)
	if err != nil || p.cart != first {
		t.Fatal(err)
	}
	ready("second")
	if a, err := cs.layout(p, "x"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("the download is given %v, %v", a, err)
	}
	if err := cs.settle(first, nil, "too late"); err != nil {
		t.Fatal(err)
	}
	if l, ok := cs.find(k); !ok || l.State != stateReady {
		t.Errorf("the second cart is %+v after the first was settled", l)
	}
	p, err = cs.pin(k)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := cs.layout(p, "x"); err != nil || a.entries[0].Path != "second" {
		t.Errorf("the second cart is %v on the shelf, %v", a, err)
	}
	if err := errors.Join(cs.drop(p.cart, true), cs.unpin(p.cart, false)); err != nil {
		t.Fatal(err)
	}
	p, err = cs.pin(k)
	if err != nil {
		t.Fatalf("a cart that was pinned made room: %v", err)
	}
	if _, err := cs.remove(k); err != nil {
		t.Fatal(err)
	}
	if a, err := cs.layout(p, "x"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("the download is given %v, %v", a, err)
	}
}
