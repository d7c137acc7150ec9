package server

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-sync/gapless"
)

// cart is one cart in memory; its files are on the shelf. All but key, serial
// and staged belong to carts.mu.
type cart struct {
	key    key
	serial string
	staged atomic.Int64 // files verified by now

	label label
	used  time.Time
	stop  func() // ends the staging
	// downloads under way; a cart that has any stays as it is, and its files
	// are held.
	downloads int
	delivered bool // its archive has been sent to the end
	held      *held
}

// carts are all carts there are.
type carts struct {
	shelf  *shelf
	limits Limits
	keep   time.Duration
	now    func() time.Time

	writing sync.Mutex // held by whoever changes the shelf
	mu      sync.Mutex // guards what follows
	all     map[key]*cart
}

// load fills the carts from the shelf. Files that are no carts are left alone
// and returned.
func (cs *carts) load() (damaged []error, err error) {
	names, err := cs.shelf.names(cartSuffix)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		l, used, err := cs.shelf.label(name)
		switch {
		case errors.Is(err, errDamaged):
			damaged = append(damaged, fmt.Errorf("%s: %w", name, err))
			continue
		case err != nil:
			return nil, err
		}
		k := key{l.Owner, l.UID}
		cs.all[k] = &cart{key: k, serial: l.Serial, label: l, used: used}
	}
	return damaged, nil
}

// unfinished returns the carts whose files have to be verified, those first
// that were ordered first.
func (cs *carts) unfinished() (list []*cart) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.all {
		if c.label.State == stateStaging {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *cart) int { return a.label.Ordered.Compare(b.label.Ordered) })
	return list
}

// find returns a copy of what is known of a cart, and reports whether there is
// one.
func (cs *carts) find(k key) (label, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.live(k)
	if c == nil {
		return label{}, false
	}
	return c.label, true
}

// live returns a cart that has not expired, or nil.
func (cs *carts) live(k key) *cart {
	if c := cs.all[k]; c != nil && !cs.expired(c) {
		return c
	}
	return nil
}

func (cs *carts) expired(c *cart) bool {
	return c.downloads == 0 && c.label.State != stateStaging && cs.now().Sub(c.used) > cs.keep
}

// add puts an ordered cart on the shelf, in place of the one that its key has;
// others of its owner may have to go.
func (cs *carts) add(k key, o order) (*cart, error) {
	cs.writing.Lock()
	defer cs.writing.Unlock()
	if err := cs.makeRoom(k, len(o.entries)); err != nil {
		return nil, err
	}
	now := cs.now()
	c := &cart{key: k, serial: rand.Text(), used: now}
	c.label = label{
		Format: cartFormat, Serial: c.serial, Owner: k.owner, UID: k.uid, Ordered: now.UTC(),
		Bundle: o.bundle, State: stateStaging, Files: len(o.entries),
	}
	if err := cs.shelf.put(c.label, o.entries); err != nil {
		return nil, fmt.Errorf("keep cart %s: %w", clip(k.uid), err)
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.all[k].end()
	cs.all[k] = c
	return c, nil
}

// end ends the staging of a cart that is replaced or removed.
func (c *cart) end() {
	if c != nil && c.stop != nil {
		c.stop()
	}
}

// makeRoom removes what has expired, and then as many carts of an owner as it
// takes for one more: those that have failed or been delivered, least recently
// used first. Never one that is being staged or downloaded.
func (cs *carts) makeRoom(k key, files int) error {
	for _, c := range cs.leaving(k, files) {
		if err := cs.drop(c, true); err != nil {
			return err
		}
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if count, held := cs.holds(k); count >= cs.limits.Carts || held+files > cs.limits.HeldFiles {
		return refuse(http.StatusTooManyRequests, "there are %d carts with %d files already; delete some, or wait until they expire", count, held)
	}
	return nil
}

// leaving returns the carts that have to go.
func (cs *carts) leaving(k key, files int) (list []*cart) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	count, held := cs.holds(k)
	var idle []*cart
	for other, c := range cs.all {
		switch {
		case other == k:
		case cs.expired(c):
			list = append(list, c)
			if other.owner == k.owner {
				count, held = count-1, held-c.label.Files
			}
		case other.owner == k.owner && c.downloads == 0 && (c.label.State == stateFailed || c.delivered && c.label.State == stateReady):
			idle = append(idle, c)
		}
	}
	slices.SortFunc(idle, func(a, b *cart) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.serial, b.serial)) })
	for _, c := range idle {
		if count < cs.limits.Carts && held+files <= cs.limits.HeldFiles {
			break
		}
		list = append(list, c)
		count, held = count-1, held-c.label.Files
	}
	return list
}

// holds counts the carts of an owner beside k itself, and their files.
func (cs *carts) holds(k key) (count, files int) {
	for other, c := range cs.all {
		if other.owner == k.owner && other != k {
			count++
			files += c.label.Files
		}
	}
	return count, files
}

// remove removes a cart, and reports whether there was one. Downloads under way
// go on.
func (cs *carts) remove(k key) (bool, error) {
	cs.writing.Lock()
	defer cs.writing.Unlock()
	cs.mu.Lock()
	c, live := cs.all[k], cs.live(k) != nil
	cs.mu.Unlock()
	if c == nil {
		return false, nil
	}
	return live, cs.drop(c, false)
}

// drop removes a cart. With idle it does nothing if a download has begun.
func (cs *carts) drop(c *cart, idle bool) error {
	cs.mu.Lock()
	if idle && c.downloads > 0 {
		cs.mu.Unlock()
		return nil
	}
	c.end()
	delete(cs.all, c.key)
	cs.mu.Unlock()
	err := cs.shelf.remove(c.key)
	if err != nil {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		cs.all[c.key] = c
		return fmt.Errorf("remove cart %s: %w", clip(c.key.uid), err)
	}
	return nil
}

// settle ends the staging of a cart: with its verified entries, or with why it
// has failed. A cart that has been removed or replaced meanwhile stays so.
func (cs *carts) settle(c *cart, entries []entry, failure string) error {
	cs.writing.Lock()
	defer cs.writing.Unlock()
	cs.mu.Lock()
	current, l := cs.all[c.key] == c, c.label
	cs.mu.Unlock()
	if !current {
		return nil
	}
	l.State, l.Message, l.Bytes = stateReady, failure, 0
	if failure != "" {
		l.State, entries = stateFailed, nil
	}
	for i := range entries {
		l.Bytes += entries[i].Size
	}
	err := cs.shelf.put(l, entries)
	if err != nil {
		l.State, l.Message = stateFailed, "the server cannot keep the cart at the moment; order it again"
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.label, c.used = l, cs.now()
	return err
}

// again puts a cart whose files are no longer what they were back into
// staging, and reports whether it is this caller who did.
func (cs *carts) again(c *cart) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.all[c.key] != c || c.label.State != stateReady {
		return false
	}
	c.label.State = stateStaging
	c.held = nil // what is under way keeps its own
	c.staged.Store(0)
	return true
}

// held are the files of a cart that is being downloaded, shared by all who
// download it.
type held struct {
	mu      sync.Mutex // guards what follows
	entries []entry
	archive *archive // of the root asked for last
}

// errNotReady says that a cart cannot be downloaded now.
var errNotReady = errors.New("The cart is not ready for download.") //nolint:staticcheck // the text of the answer

// pin is a cart that is being downloaded, as it was when that began.
type pin struct {
	cart  *cart
	label label
	held  *held
}

// pin returns a cart for a download; it stays until unpin, whatever happens to
// the cart. The errors are [gapless.ErrNotFound] and errNotReady.
func (cs *carts) pin(k key) (pin, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.live(k)
	if c == nil {
		return pin{}, gapless.ErrNotFound
	}
	if c.label.State != stateReady {
		return pin{}, errNotReady
	}
	if c.held == nil {
		c.held = &held{}
	}
	c.downloads++
	return pin{c, c.label, c.held}, nil
}

// unpin ends a download. Delivered says that it came to the end of the
// archive.
func (cs *carts) unpin(c *cart, delivered bool) error {
	cs.mu.Lock()
	c.downloads--
	c.delivered = c.delivered || delivered
	if c.downloads == 0 {
		c.held = nil
	}
	c.used = cs.now()
	used, current := c.used, cs.all[c.key] == c
	cs.mu.Unlock()
	if !current {
		return nil
	}
	err := cs.shelf.touch(c.key, used)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrClosed) {
		return nil // removed meanwhile, or the server is being stopped
	}
	return err
}

// layout returns the archive of a pinned cart below a root.
func (cs *carts) layout(p pin, root string) (*archive, error) {
	h := p.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.entries == nil {
		l, entries, err := cs.shelf.read(p.cart.key.file())
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && (l.Serial != p.cart.serial || l.State != stateReady):
			return nil, gapless.ErrNotFound // removed or replaced since it was pinned
		case err != nil:
			return nil, fmt.Errorf("read cart %s: %w", clip(p.cart.key.uid), err)
		}
		h.entries = entries
	}
	if h.archive == nil || h.archive.root != root {
		a, err := newArchive(root, h.entries)
		if err != nil {
			return nil, err
		}
		h.archive = a
	}
	return h.archive, nil
}
