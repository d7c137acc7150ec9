package statetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// model is a ledger of one collection in the plainest of ways.
type model struct {
	entries map[string]state.Entry
	news    [2]map[string]state.News
}

func (m *model) stage(n state.News) {
	kept := m.news[n.Side]
	earlier, known := kept[n.Key]
	if known {
		sum := earlier.Digest
		sum.Merge(n.Digest)
		if n.Seen {
			n = earlier
		}
		n.Digest = sum
	}
	kept[n.Key] = n
}

func (m *model) unstage() {
	m.news = [2]map[string]state.News{{}, {}}
}

func (m *model) settle(e state.Entry) {
	m.entries[e.Key] = e
	if len(e.Value) == 0 {
		delete(m.entries, e.Key)
	}
	delete(m.news[state.This], e.Key)
	delete(m.news[state.Other], e.Key)
}

func (m *model) unsettled(keys []string, all bool) []state.Unsettled {
	var found []state.Unsettled
	for _, key := range keys {
		e, wanted := m.entries[key]
		wanted = wanted && (all || e.Open)
		u := state.Unsettled{Key: key, Entry: e.Value}
		for side := range m.news {
			if n, ok := m.news[side][key]; ok {
				u.News[side] = &n
				wanted = wanted || all || !n.Seen
			}
		}
		if wanted {
			found = append(found, u)
		}
	}
	return found
}

func (m *model) unseen(keys []string, side state.Side, prefix string) (found []string, live uint64) {
	for _, key := range keys {
		if e := m.entries[key]; !e.Live[side] || !strings.HasPrefix(key, prefix) {
			continue
		}
		live++
		if _, ok := m.news[side][key]; !ok {
			found = append(found, key)
		}
	}
	return found, live
}

// ledgerModel does the same by chance to a store and a model.
func ledgerModel(t *testing.T, s state.Store) {
	parts := []string{"\x00", "a", "\xff", "%", "\xc3", "b"}
	var keys []string
	for _, a := range parts {
		for _, b := range append(parts, "") {
			keys = append(keys, a+b)
		}
	}
	slices.Sort(keys)
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		l := acquire(t, s, fmt.Sprintf("c%d", seed), at(0))
		m := model{entries: map[string]state.Entry{}}
		m.unstage()
		for range 12 {
			step(t, s, l, &m, keys, random)
			compare(t, s, l.Connector, &m, keys, random)
			if t.Failed() {
				t.Fatalf("with seed %d", seed)
			}
		}
	}
}

func step(t *testing.T, s state.Store, l state.Lease, m *model, keys []string, random *rand.Rand) {
	t.Helper()
	key := func() string { return keys[random.IntN(len(keys))] }
	switch random.IntN(7) {
	case 0:
		if err := s.Unstage(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		m.unstage()
	case 1, 2, 3:
		var c state.Commit
		for range random.IntN(10) {
			e := state.Entry{
				Collection: "a", Key: key(), Live: [2]bool{random.IntN(2) == 0, random.IntN(2) == 0}, Open: random.IntN(3) == 0,
				Value: []byte(fmt.Sprint(random.IntN(100)))[random.IntN(2):],
			}
			if len(e.Value) == 0 {
				e.Live, e.Open = [2]bool{}, false
			}
			m.settle(e)
			c.Entries = append(c.Entries, e)
		}
		commit(t, s, l, c)
	default:
		var news []state.News
		for range random.IntN(20) {
			n := state.News{
				Side: state.Side(random.IntN(2)), Collection: "a", Key: key(), Seen: random.IntN(2) == 0,
				Digest: proof.Digest{Count: 1, Hi: random.Uint64(), Lo: random.Uint64()},
			}
			if !n.Seen {
				n.Op = []gapless.Op{gapless.OpUpsert, gapless.OpDelete}[random.IntN(2)]
				n.Version, n.Data = fmt.Sprint(random.Uint64()), []byte(fmt.Sprint(random.Uint64()))
			}
			m.stage(n)
			news = append(news, n)
		}
		stageNews(t, s, l, news...)
	}
}

func compare(t *testing.T, s state.Store, connector string, m *model, keys []string, random *rand.Rand) {
	t.Helper()
	for _, all := range []bool{false, true} {
		equal(t, fmt.Sprintf("unsettled, all %t", all), m.unsettled(keys, all), unsettled(t, s, connector, "a", all, 1+random.IntN(20)))
	}
	for _, side := range []state.Side{state.This, state.Other} {
		for _, prefix := range []string{"", "a", "\xff", keys[random.IntN(len(keys))]} {
			want, wantLive := m.unseen(keys, side, prefix)
			equal(t, "unseen", want, unseen(t, s, connector, "a", side, prefix, 1+random.IntN(20)))
			count, live, err := s.CountUnseen(t.Context(), connector, "a", side, prefix)
			if err != nil || count != uint64(len(want)) || live != wantLive {
				t.Errorf("%d of %d unseen, %v, want %d of %d", count, live, err, len(want), wantLive)
			}
		}
	}
	entries, err := s.Entries(t.Context(), connector, "a", keys)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "entries", m.entries, entries)
}
