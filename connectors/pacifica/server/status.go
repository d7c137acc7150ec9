package server

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
)

// wireStatus is what is told of a cart.
type wireStatus struct {
	UID     string `json:"uid"`
	Status  state  `json:"status"`
	Message string `json:"message"`
	// Files that were ordered, and how many of them are verified.
	Files  int `json:"files"`
	Staged int `json:"staged"`
	// Bytes of all files, once the cart is ready.
	Bytes     int64     `json:"bytes"`
	Downloads int       `json:"downloads"`
	Delivered bool      `json:"delivered"`
	Ordered   time.Time `json:"ordered"`
	Used      time.Time `json:"used"`
	// Expires is when it is removed if nobody uses it; zero while somebody
	// does.
	Expires time.Time `json:"expires,omitzero"`
}

// wireList is the front page. Message is what the original says.
type wireList struct {
	Message string       `json:"message"`
	Carts   []wireStatus `json:"carts"`
}

// status answers with all that is known of a cart.
func (c *exchange) status(k key) error {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		c.w.Header().Set("Allow", "GET, HEAD")
		return refuse(http.StatusMethodNotAllowed, "Specified method is invalid for this resource.")
	}
	status, err := c.s.carts.status(k)
	if err != nil {
		return errNoCart()
	}
	c.reply(http.StatusOK, status)
	return nil
}

// status tells of one cart.
func (cs *carts) status(k key) (wireStatus, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.live(k)
	if c == nil {
		return wireStatus{}, gapless.ErrNotFound
	}
	return cs.describe(c), nil
}

// statuses tells of all carts of an owner, in the order in which they came.
func (cs *carts) statuses(owner string) wireList {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := wireList{Message: "Pacifica Cartd Interface Up and Running", Carts: []wireStatus{}}
	for k, c := range cs.all {
		if k.owner == owner && !cs.expired(c) {
			list.Carts = append(list.Carts, cs.describe(c))
		}
	}
	slices.SortFunc(list.Carts, func(a, b wireStatus) int { return cmp.Or(a.Ordered.Compare(b.Ordered), cmp.Compare(a.UID, b.UID)) })
	return list
}

func (cs *carts) describe(c *cart) wireStatus {
	s := wireStatus{
		UID: c.key.uid, Status: c.label.State, Message: c.label.Message, Files: c.label.Files, Staged: int(c.staged.Load()),
		Bytes: c.label.Bytes, Downloads: c.downloads, Delivered: c.delivered, Ordered: c.label.Ordered, Used: c.used.UTC(),
	}
	if s.Status == stateReady {
		s.Staged = s.Files
	}
	if s.Status != stateStaging && s.Downloads == 0 {
		s.Expires = s.Used.Add(cs.keep)
	}
	return s
}
