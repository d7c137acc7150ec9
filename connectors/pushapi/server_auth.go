package pushapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
)

// Credential lets clients in that know the password of a hash.
type Credential struct {
	Login string
	// Hash of the password as [HashPassword] writes it, of argon2id, or one of
	// bcrypt.
	Hash string
}

// Gatekeeper lets clients in. Hashes are slow on purpose, and clients send
// their password with every request: once a password was right, a keyed sum of
// it is kept in memory, and compared from then on.
type Gatekeeper struct {
	doors map[string]*door
	decoy *door // for logins that there are not, so that they take as long
	key   [32]byte
	work  chan struct{} // bounds how many hashes are computed at a time
}

// door is one login.
type door struct {
	hash passwordHash
	sum  atomic.Pointer[[sha256.Size]byte] // of the password that was right
}

// NewGatekeeper returns one that knows these credentials. The errors name the
// login that cannot be used.
func NewGatekeeper(credentials []Credential) (*Gatekeeper, error) {
	g := &Gatekeeper{doors: map[string]*door{}, work: make(chan struct{}, runtime.GOMAXPROCS(0))}
	_, _ = rand.Read(g.key[:]) // never fails
	for _, c := range credentials {
		if c.Login == "" || strings.Contains(c.Login, ":") || g.doors[c.Login] != nil {
			return nil, fmt.Errorf("login %q is empty, has a colon or is there twice", clip(c.Login))
		}
		hash, err := parseHash(c.Hash)
		if err != nil {
			return nil, fmt.Errorf("password hash of login %q: %w", clip(c.Login), err)
		}
		g.doors[c.Login] = &door{hash: hash}
		if g.decoy == nil {
			g.decoy = &door{hash: hash}
		}
	}
	return g, nil
}

// Knows reports whether the password of a login is right.
func (g *Gatekeeper) Knows(ctx context.Context, login, password string) bool {
	d, known := g.doors[login]
	if !known {
		d = g.decoy
	}
	if d == nil || len(password) > maxPassword {
		return false
	}
	mac := hmac.New(sha256.New, g.key[:])
	_, _ = fmt.Fprintf(mac, "%d:%s%s", len(login), login, password)
	sum := [sha256.Size]byte(mac.Sum(nil))
	if kept := d.sum.Load(); kept != nil && subtle.ConstantTimeCompare(kept[:], sum[:]) == 1 {
		return true
	}
	select {
	case g.work <- struct{}{}:
		defer func() { <-g.work }()
	case <-ctx.Done():
		return false
	}
	if !d.hash.matches(password) || !known {
		return false
	}
	d.sum.Store(&sum)
	return true
}

// admits reports whether a request may pass. Without credentials all may.
func (g *Gatekeeper) admits(r *http.Request) bool {
	if len(g.doors) == 0 {
		return true
	}
	login, password, ok := r.BasicAuth()
	return ok && g.Knows(r.Context(), login, password)
}
