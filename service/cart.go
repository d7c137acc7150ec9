package service

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/hub"
)

// cartOptions are what a cart door needs.
type cartOptions struct {
	// Dir is the folder that carts are kept in.
	Dir string
	// Root is the folder of the files; without one they are parts of records.
	Root string
	// Parts is where those records are: CONNECTOR/COLLECTION of the hub.
	Parts string
	// Users and Tokens are hashes of passwords and bearer tokens by name, which
	// is whose carts they are. Without any everybody is let in, as one.
	Users, Tokens map[string]string
	// Limits of what clients may ask for.
	Limits server.Limits
	// Keep is how long a cart is kept that nobody downloads. Defaults to 24
	// hours.
	Keep time.Duration
	// Logger defaults to discarding.
	Logger *slog.Logger
	// Now defaults to time.Now.
	Now func() time.Time
}

// cartDoor is the cart service over a folder, or over parts of a hub.
type cartDoor struct {
	*server.Server
	folder *server.Folder // nil for a hub
}

// newCartDoor opens the service; requests are answered from then on. The
// server that it is given to should have neither a read nor a write timeout:
// the door has its own, which do not end a long download.
func newCartDoor(o cartOptions, h *hub.Hub) (*cartDoor, error) {
	if (o.Root == "") == (o.Parts == "") {
		return nil, gapless.Misconfigured(errors.New("files come from a folder or from parts of records: one of the two is needed"))
	}
	gate, err := newCartGate(o.Users, o.Tokens)
	if err != nil {
		return nil, err
	}
	d := &cartDoor{}
	options := server.Options{Dir: o.Dir, Admit: gate.admits, Limits: o.Limits, Keep: o.Keep, Logger: o.Logger, Now: o.Now}
	if o.Root == "" {
		options.Files, err = CartFiles(h, o.Parts)
	} else if d.folder, err = server.OpenFolder(o.Root); err == nil {
		options.Files = d.folder
	}
	if err != nil {
		return nil, gapless.Misconfigured(err)
	}
	if d.Server, err = server.New(options); err != nil {
		return nil, errors.Join(err, d.closeFolder())
	}
	return d, nil
}

// Close breaks downloads off and ends the verification of carts. Closing twice
// is no error.
func (d *cartDoor) Close() error { return errors.Join(d.Server.Close(), d.closeFolder()) }

func (d *cartDoor) closeFolder() error {
	if d.folder == nil {
		return nil
	}
	return d.folder.Close()
}

// cartGate lets clients of the cart service in, by name and password or by
// bearer token.
type cartGate struct {
	users  *pushapi.Gatekeeper
	tokens *tokenKeeper
	open   bool // nobody is asked
}

func newCartGate(users, tokens map[string]string) (*cartGate, error) {
	keeper, err := pushapi.NewGatekeeper(credentials(users))
	if err != nil {
		return nil, err
	}
	bearers, err := newTokenKeeper(tokens)
	return &cartGate{keeper, bearers, len(users)+len(tokens) == 0}, err
}

// admits returns whose carts a request is about. A user and a token of the same
// name are not the same owner.
func (g *cartGate) admits(r *http.Request) (owner string, ok bool) {
	if g.open {
		return "", true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") {
		name, ok := g.tokens.find(r.Context(), strings.TrimSpace(token))
		return "token " + name, ok
	}
	name, password, ok := r.BasicAuth()
	return "user " + name, ok && g.users.Knows(r.Context(), name, password)
}

// tokenKeeper knows tokens by their hashes, which have names. Tokens come
// without the name, so one that it does not know yet is tried under every
// name; once a token was right, a keyed sum of it is kept in memory.
type tokenKeeper struct {
	keeper *pushapi.Gatekeeper
	names  []string
	key    [32]byte
	known  sync.Map // names by sums
}

func newTokenKeeper(hashes map[string]string) (*tokenKeeper, error) {
	list := credentials(hashes)
	keeper, err := pushapi.NewGatekeeper(list)
	if err != nil {
		return nil, err
	}
	k := &tokenKeeper{keeper: keeper}
	_, _ = rand.Read(k.key[:]) // never fails
	for _, token := range list {
		k.names = append(k.names, token.Login)
	}
	return k, nil
}

// find returns the name of a token, and reports whether it has one.
func (k *tokenKeeper) find(ctx context.Context, token string) (string, bool) {
	mac := hmac.New(sha256.New, k.key[:])
	_, _ = mac.Write([]byte(token)) // never fails
	sum := [sha256.Size]byte(mac.Sum(nil))
	if name, ok := k.known.Load(sum); ok {
		return name.(string), true
	}
	for _, name := range k.names {
		if k.keeper.Knows(ctx, name, token) {
			k.known.Store(sum, name)
			return name, true
		}
	}
	return "", false
}
