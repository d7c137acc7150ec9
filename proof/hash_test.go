package proof_test

import (
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

func row(change func(*gapless.Change)) (key, content gapless.Hash128) {
	c := gapless.Change{Record: gapless.Record{
		Key: "k", Version: "v", Data: []byte(`{"a":1}`),
		Parts: []gapless.Part{{Name: "text", Type: "text/plain", Size: 5, Version: "1"}, {Name: "image", Size: -1}},
	}}
	change(&c)
	b := gapless.Batch{}
	b.Append(gapless.Change{Record: gapless.Record{Key: "before", Parts: []gapless.Part{{Name: "other"}}}})
	b.Append(c)
	return proof.RowHash(&b, 1)
}

func TestRowHashTellsApart(t *testing.T) {
	t.Parallel()
	key, content := row(func(*gapless.Change) {})
	if again, same := row(func(c *gapless.Change) { c.Line = 7; c.Modified = c.Modified.AddDate(2000, 0, 0) }); again != key || same != content {
		t.Errorf("line and modified are part of the hash")
	}
	if key != proof.KeyHash([]byte("k")) {
		t.Errorf("the key's hash is not KeyHash")
	}
	tests := []struct {
		name   string
		change func(*gapless.Change)
	}{
		{"op", func(c *gapless.Change) { c.Op = gapless.OpPatch }},
		{"version", func(c *gapless.Change) { c.Version = "w" }},
		{"no version", func(c *gapless.Change) { c.Version = "" }},
		{"data", func(c *gapless.Change) { c.Data = []byte(`{"a":2}`) }},
		{"no data", func(c *gapless.Change) { c.Data = nil }},
		{"version and data exchanged", func(c *gapless.Change) { c.Version, c.Data = string(c.Data), []byte(c.Version) }},
		{"no parts", func(c *gapless.Change) { c.Parts = nil }},
		{"one part less", func(c *gapless.Change) { c.Parts = c.Parts[:1] }},
		{"order of parts", func(c *gapless.Change) { c.Parts[0], c.Parts[1] = c.Parts[1], c.Parts[0] }},
		{"name of a part", func(c *gapless.Change) { c.Parts[0].Name = "texts" }},
		{"type of a part", func(c *gapless.Change) { c.Parts[0].Type = "" }},
		{"size of a part", func(c *gapless.Change) { c.Parts[1].Size = 0 }},
		{"version of a part", func(c *gapless.Change) { c.Parts[1].Version = "1" }},
		{"name and type exchanged", func(c *gapless.Change) { c.Parts[0].Name, c.Parts[0].Type = c.Parts[0].Type, c.Parts[0].Name }},
	}
	seen := map[gapless.Hash128]string{content: "as it was"}
	for _, tt := range tests {
		_, got := row(tt.change)
		if other, clash := seen[got]; clash {
			t.Errorf("%s: same hash as %s", tt.name, other)
		}
		seen[got] = tt.name
	}
	if other, _ := row(func(c *gapless.Change) { c.Key = "l" }); other == key {
		t.Errorf("another key has the same hash")
	}
}

// Exchanging the contents of two records must not cancel in the sum.
func TestDeliveryBindsKeyToContent(t *testing.T) {
	t.Parallel()
	h := func(s string) gapless.Hash128 { return proof.KeyHash([]byte(s)) }
	straight := digestOf([]gapless.Hash128{proof.Delivery(h("k1"), h("c1")), proof.Delivery(h("k2"), h("c2"))})
	crossed := digestOf([]gapless.Hash128{proof.Delivery(h("k1"), h("c2")), proof.Delivery(h("k2"), h("c1"))})
	if straight == crossed {
		t.Errorf("exchanged contents have the same digest")
	}
	if proof.Delivery(h("a"), h("b")) == proof.Delivery(h("b"), h("a")) {
		t.Errorf("key and content are interchangeable")
	}
}

func TestRejectionDeliveryTellsApart(t *testing.T) {
	t.Parallel()
	seen := map[gapless.Hash128]bool{}
	list := []gapless.Rejection{{}, {Key: "k"}, {Origin: "k"}, {Line: 1}, {Raw: []byte("k")}, {Key: "k", Line: 1}}
	for _, r := range list {
		seen[proof.RejectionDelivery(&r)] = true
	}
	if len(seen) != len(list) {
		t.Errorf("%d hashes of %d rejections", len(seen), len(list))
	}
}

func rows300(n int) *gapless.Batch {
	b := &gapless.Batch{}
	for i := range n {
		b.Append(gapless.Change{Record: gapless.Record{
			Key: "record-" + string(rune('a'+i%26)) + strings.Repeat("0", 4), Version: "17", Data: []byte(`{"text":"` + strings.Repeat("x", 289) + `"}`),
		}})
	}
	return b
}

func BenchmarkRowHash(b *testing.B) {
	batch := rows300(1024)
	var d proof.Digest
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch.Len() {
			key, content := proof.RowHash(batch, i)
			d.Add(proof.Delivery(key, content))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Len()), "ns/row")
}
