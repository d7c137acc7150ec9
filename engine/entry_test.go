package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless/resolve"
)

func drawTimes(t *rapid.T) resolve.Times {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	times := resolve.Times{}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		times[rapid.String().Draw(t, "field")] = drawStamp(t)
	}
	return times
}

func drawStamp(t *rapid.T) resolve.Stamp {
	s := resolve.Stamp{Counter: rapid.Uint32().Draw(t, "counter"), Node: rapid.String().Draw(t, "node")}
	if rapid.Bool().Draw(t, "timed") {
		s.Time = time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanos")).UTC()
	}
	return s
}

func drawHeld(t *rapid.T) held {
	h := held{version: rapid.String().Draw(t, "version")}
	h.at = resolve.Side{Deleted: rapid.Bool().Draw(t, "deleted"), Modified: drawStamp(t), Times: drawTimes(t), Seen: drawTimes(t)}
	if rapid.Bool().Draw(t, "has data") {
		h.at.Data = []byte(rapid.SampledFrom([]string{`{}`, `{"a":1}`, `{"b":"é"}`}).Draw(t, "data"))
	}
	if rapid.Bool().Draw(t, "unshown") {
		h.unshown, h.uncarried = []string{"a", ""}, []string{"c"}
	}
	return h
}

func TestEntryRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := entry{owner: uint8(rapid.IntRange(0, 2).Draw(t, "owner")), baseDeleted: rapid.Bool().Draw(t, "base deleted")}
		e.sides[0] = drawHeld(t)
		e.sides[1] = e.sides[0]
		if rapid.Bool().Draw(t, "differ") {
			e.sides[1] = drawHeld(t)
		}
		if rapid.Bool().Draw(t, "promised") {
			e.promised = &[2]held{drawHeld(t), drawHeld(t)}
		}
		switch rapid.IntRange(0, 2).Draw(t, "base") {
		case 1:
			e.base = []byte(`{"base":true}`)
		case 2:
			e.base = e.sides[0].at.Data
		}
		got, err := decodeEntry(e.encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got, cmp.AllowUnexported(entry{}, held{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestStampedVersions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeld(t)
		version := stampedVersion(&h.at)
		got := resolve.Side{Data: h.at.Data, Deleted: h.at.Deleted}
		if !readStamps(version, &got) {
			t.Fatalf("%q is not read back", version)
		}
		if diff := cmp.Diff(h.at, got); diff != "" {
			t.Fatal(diff)
		}
		other := resolve.Side{Data: []byte(`{"edited":"by somebody else"}`)}
		if readStamps(version, &other) {
			t.Fatal("the times of one record are taken for those of another")
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	e := entry{base: []byte(`{}`), owner: 1}
	e.sides[0] = held{at: resolve.Side{Data: []byte(`{"a":1}`), Modified: resolve.At(time.Unix(5, 0))}, version: "v", unshown: []string{"a"}}
	f.Add(e.encode(), "gapless-1:AAAA")
	f.Add([]byte(nil), stampedVersion(&resolve.Side{Data: []byte(`{}`)}))
	f.Fuzz(func(t *testing.T, value []byte, version string) {
		if e, err := decodeEntry(value); err == nil {
			again, err := decodeEntry(e.encode())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, again, cmp.AllowUnexported(entry{}, held{})); diff != "" {
				t.Fatal(diff)
			}
		}
		var s resolve.Side
		readStamps(version, &s)
	})
}
