package pushapi

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
)

// Credential lets clients in that know the password of a hash.
type Credential struct {
	Login string
	// Hash of the password as [HashPassword] writes it:
	// $pbkdf2-sha256$ROUNDS$SALT$HASH, salt and hash in base64 without padding.
	Hash string
}

const (
	hashKind = "pbkdf2-sha256"
	// hashRounds of a new hash take about a tenth of a second.
	hashRounds    = 600_000
	maxHashRounds = 10_000_000
	hashSaltBytes = 16
	maxPassword   = 1024
)

// HashPassword returns a hash of a password for a [Credential].
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("a password has 1 to %d bytes, not %d", maxPassword, len(password))
	}
	salt := make([]byte, hashSaltBytes)
	_, _ = rand.Read(salt) // never fails
	return hashPassword(password, salt, hashRounds)
}

func hashPassword(password string, salt []byte, rounds int) (string, error) {
	sum, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$%s$%d$%s$%s", hashKind, rounds, encode(salt), encode(sum)), nil
}

// passwordHash is a [Credential]'s hash, read.
type passwordHash struct {
	rounds    int
	salt, sum []byte
}

func parseHash(text string) (h passwordHash, err error) {
	fields := strings.Split(text, "$")
	if len(fields) < 2 || fields[0] != "" {
		return h, errors.New("it is not of the form $KIND$...")
	}
	if fields[1] != hashKind {
		return h, fmt.Errorf("hashes of the kind %s are not known, only %s", clip(fields[1]), hashKind)
	}
	if len(fields) != 5 {
		return h, fmt.Errorf("it is not of the form $%s$ROUNDS$SALT$HASH", hashKind)
	}
	if h.rounds, err = strconv.Atoi(fields[2]); err != nil || h.rounds < 1000 || h.rounds > maxHashRounds {
		return h, fmt.Errorf("it has %s rounds, not 1000 to %d", clip(fields[2]), maxHashRounds)
	}
	var saltErr, sumErr error
	h.salt, saltErr = base64.RawStdEncoding.DecodeString(fields[3])
	h.sum, sumErr = base64.RawStdEncoding.DecodeString(fields[4])
	if saltErr != nil || sumErr != nil || len(h.salt) < 8 || len(h.sum) != sha256.Size {
		return h, errors.New("its salt or hash is not base64 without padding of at least 8 and of 32 bytes")
	}
	return h, nil
}

func (h *passwordHash) matches(password string) bool {
	sum, err := pbkdf2.Key(sha256.New, password, h.salt, h.rounds, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// gatekeeper lets clients in. Hashes are slow on purpose, and clients send
// their password with every request: once a password was right, a keyed sum of
// it is kept in memory, and compared from then on.
type gatekeeper struct {
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

func newGatekeeper(credentials []Credential) (*gatekeeper, error) {
	g := &gatekeeper{doors: map[string]*door{}, work: make(chan struct{}, runtime.GOMAXPROCS(0))}
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
		if g.decoy == nil || hash.rounds > g.decoy.hash.rounds {
			g.decoy = &door{hash: hash}
		}
	}
	return g, nil
}

// admits reports whether a request may pass.
func (g *gatekeeper) admits(r *http.Request) bool {
	if len(g.doors) == 0 {
		return true
	}
	login, password, ok := r.BasicAuth()
	if !ok || len(password) > maxPassword {
		return false
	}
	mac := hmac.New(sha256.New, g.key[:])
	_, _ = fmt.Fprintf(mac, "%d:%s%s", len(login), login, password)
	sum := [sha256.Size]byte(mac.Sum(nil))
	d, known := g.doors[login]
	if !known {
		d = g.decoy
	}
	if kept := d.sum.Load(); kept != nil && subtle.ConstantTimeCompare(kept[:], sum[:]) == 1 {
		return true
	}
	select {
	case g.work <- struct{}{}:
		defer func() { <-g.work }()
	case <-r.Context().Done():
		return false
	}
	if !d.hash.matches(password) || !known {
		return false
	}
	d.sum.Store(&sum)
	return true
}
