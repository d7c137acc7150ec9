package proof_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

func TestCertificateVerify(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(b *books, c *proof.Certificate)
		want   error
	}{
		{name: "as it should be", change: func(*books, *proof.Certificate) {}},
		{name: "row dropped", change: func(b *books, c *proof.Certificate) { c.Read.Merge(b.rows(1)) }, want: proof.ErrUnbalanced},
		{name: "row pushed twice", change: func(b *books, c *proof.Certificate) {
			r := b.rows(1)
			c.Read.Merge(r)
			for range 2 {
				c.Pushed.Merge(r)
				c.Synced.Merge(r)
			}
		}, want: proof.ErrUnbalanced},
		{name: "row altered", change: func(b *books, c *proof.Certificate) {
			c.Read.Merge(b.rows(1))
			r := b.rows(1)
			c.Pushed.Merge(r)
			c.Synced.Merge(r)
		}, want: proof.ErrUnbalanced},
		{name: "row altered by a mapping", change: func(b *books, c *proof.Certificate) {
			c.Mapped = true
			c.Read.Merge(b.rows(1))
			r := b.rows(1)
			c.Pushed.Merge(r)
			c.Synced.Merge(r)
		}},
		{name: "row dropped by a mapping", change: func(b *books, c *proof.Certificate) {
			c.Mapped = true
			c.Read.Merge(b.rows(1))
		}, want: proof.ErrUnbalanced},
		{name: "row not synced", change: func(b *books, c *proof.Certificate) {
			r := b.rows(1)
			c.Read.Merge(r)
			c.Pushed.Merge(r)
		}, want: proof.ErrUnbalanced},
		{name: "another row synced", change: func(b *books, c *proof.Certificate) { c.Synced = b.rows(3) }, want: proof.ErrUnbalanced},
		{name: "sum of nothing", change: func(_ *books, c *proof.Certificate) { c.Deleted = proof.Digest{Lo: 1} }, want: proof.ErrUnbalanced},
		{name: "the only row pushed is refused after its bytes are gone", change: func(b *books, c *proof.Certificate) {
			one := b.rows(1)
			c.Read, c.Pushed, c.Rejected = one, one, proof.Digest{Count: 1}
			c.Unchanged, c.Filtered, c.Mapped = proof.Digest{}, proof.Digest{}, true
			c.Pushed.Count--
			c.Synced = c.Pushed
		}},
		{name: "counts that wrap around", change: func(_ *books, c *proof.Certificate) {
			c.Unchanged.Count, c.Filtered.Count = 1<<63, 1<<63+3
		}, want: proof.ErrUnbalanced},
		{name: "interrupted", change: func(b *books, c *proof.Certificate) { b.broken(gapless.KindRecoverable)(c) }},
		{name: "interrupted with more pushed than read", change: func(b *books, c *proof.Certificate) {
			b.broken(gapless.KindRecoverable)(c)
			c.Pushed.Merge(b.rows(3))
		}, want: proof.ErrUnbalanced},
		{name: "interrupted with more synced than pushed", change: func(b *books, c *proof.Certificate) {
			b.broken(gapless.KindRecoverable)(c)
			c.Synced = b.rows(4)
		}, want: proof.ErrUnbalanced},
		{name: "complete with a failure", change: func(_ *books, c *proof.Certificate) { c.Failure = "recoverable" }, want: proof.ErrMalformed},
		{name: "incomplete without a failure", change: func(_ *books, c *proof.Certificate) { c.Complete = false }, want: proof.ErrMalformed},
		{name: "checkpoint elsewhere", change: func(_ *books, c *proof.Certificate) { c.Checkpoint.Position = "p0" }, want: proof.ErrMalformed},
		{name: "checkpoint of another partition", change: func(_ *books, c *proof.Certificate) { c.Checkpoint.Partition = "edge" }, want: proof.ErrMalformed},
		{name: "unknown mode", change: func(_ *books, c *proof.Certificate) { c.Mode = "nothing" }, want: proof.ErrMalformed},
		{name: "incremental without a position", change: func(_ *books, c *proof.Certificate) { c.Mode, c.From = "incremental", "" }, want: proof.ErrMalformed},
		{name: "no run", change: func(_ *books, c *proof.Certificate) { c.Run = "" }, want: proof.ErrMalformed},
		{name: "not UTF-8", change: func(_ *books, c *proof.Certificate) { c.From = "\xff" }, want: proof.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBooks()
			c := b.run(proof.ModeFull, func(c *proof.Certificate) { tt.change(b, c) })
			if err := c.Verify(); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestCertificateSurvivesJSON(t *testing.T) {
	t.Parallel()
	b := newBooks()
	want := *b.run(proof.ModeFull, func(c *proof.Certificate) { c.From, c.Rule = "<&>\u2028\x00", "" })
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := proof.DecodeCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := got.Verify(); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(got.ID, "c-"+got.Hash[:12]) || len(got.ID) != 14 {
		t.Errorf("id %s of hash %s", got.ID, got.Hash)
	}
	other := map[string]string{
		"spaces": strings.Replace(string(text), ",", ", ", 1), "field twice": strings.Replace(string(text), `{`, `{"epoch":9,`, 1),
		"unknown field": strings.Replace(string(text), `{`, `{"x":9,`, 1), "spelling": strings.Replace(string(text), `"epoch"`, `"Epoch"`, 1),
		"more behind it": string(text) + "{}", "nothing": "", "null": "null",
	}
	for name, text := range other {
		if _, err := proof.DecodeCertificate([]byte(text)); !errors.Is(err, proof.ErrMalformed) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzDecodeCertificate(f *testing.F) {
	b := newBooks()
	b.run(proof.ModeFull, nil)
	b.run(proof.ModeIncremental, b.broken(gapless.KindUnrecoverable))
	for _, c := range b.list {
		text, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"read":"7:00000000000000ff0123456789abcdef"}`))
	f.Add([]byte(`{"hash":"short","started":"0001-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := proof.DecodeCertificate(text)
		if err != nil {
			// Whatever a looser decoder makes of it must not upset the checker.
			if json.Unmarshal(text, &c) != nil {
				return
			}
		} else if again, err := c.Encode(); err != nil || string(again) != string(text) {
			t.Errorf("read %q, written %q, error %v", text, again, err)
		}
		_ = check([]proof.Certificate{c, c}, map[string]gapless.Checkpoint{c.Partition: c.Checkpoint}, nil).Text()
	})
}
