package server

import (
	"net/url"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// FuzzQuestion reads any query and asks a record.
func FuzzQuestion(f *testing.F) {
	for _, seed := range []string{
		"", "~.name=x", "~.name__like=*a*&limit=2&start=1", "[org_office]office.name__ne=NONE", "[~]~.modified_on__ge=2026-10-01T00:00:00Z",
		"~.id__gt=7&orderby=~.name desc,id", "organisation.name__belongs=\"a,b\",c", "a.b.c=1", "fk$a.b=1", "msince=2026-10-01T00:00:00&~.year__lt=1e3", "[=", "~.name__=",
		"orderby=,,&maxdepth=99999999999999999999", "~.id__le=-1",
	} {
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, query, value string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r := s3.Resource{
			Name: "org_organisation", UUID: "u", ModifiedOn: time.Unix(1e9, 0), MCI: new(2),
			Fields:     []s3.Field{{Name: "name", Text: value}, {Name: "year", Value: []byte("1999"), Text: value}},
			References: []s3.Reference{{Field: "parent_id", UUID: value}},
			Components: []s3.Resource{{Name: "org_office", UUID: "o", Fields: []s3.Field{{Name: "name", Text: value}}}},
		}
		for _, bracketed := range []bool{false, true} {
			q := question{table: "org_organisation", domain: "d"}
			if q.filtersOf(values, bracketed) != nil || q.readPage(values) != nil {
				continue
			}
			q.readShape(values)
			if q.depth > defaultDepth || q.depth < 0 || q.start < 0 || q.limit < 0 {
				t.Errorf("%+v", q)
			}
			for _, filters := range q.filters {
				passes(filters, 1, &r, nil)
				for i := range filters {
					// A filter and its opposite let exactly one of two pass.
					yes, no := filters[i], filters[i]
					yes.op, no.op = "eq", "ne"
					if yes.passes(1, &r, nil) == no.passes(1, &r, nil) {
						t.Errorf("%+v passes %v both ways", filters[i], yes.passes(1, &r, nil))
					}
				}
			}
		}
	})
}

// FuzzMatches holds patterns to what they say: a text matches itself, with any
// part of it replaced by a star.
func FuzzMatches(f *testing.F) {
	f.Add("example", 2, 4)
	f.Add("", 0, 0)
	f.Fuzz(func(t *testing.T, text string, from, to int) {
		if from < 0 || to < from || to > len(text) || len(text) > 1000 {
			return
		}
		for _, c := range text {
			if c == '*' {
				return
			}
		}
		if !matches(text, text) || !matches(text, text[:from]+"*"+text[to:]) || from > 0 && matches(text, "*"+text+"x") {
			t.Errorf("%q from %d to %d", text, from, to)
		}
	})
}

// FuzzCursor has any client ask: one that follows the rule of an Eden never
// passes over what it has not got.
func FuzzCursor(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{9, 9, 1, 0, 4, 4, 2, 2, 1})
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 200 {
			return
		}
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var sequence uint64
		var records []entry      // what the server has
		has := map[uint64]bool{} // what the client has got
		var known cursor         // by the server
		asked, first := "", true // by the client
		for _, step := range steps {
			if step%3 > 0 { // a record comes, of any time
				sequence++
				records = append(records, entry{sequence: sequence, modified: begin.Unix() + int64(step)*3600})
				continue
			}
			var at time.Time
			if asked != "" {
				at, _ = time.Parse("2006-01-02T15:04:05", asked)
			}
			next, want := known.next(asked, at, begin)
			if first {
				next, want = cursor{}, since{}
			}
			first = false
			next.Sent, next.Asked = sequence, asked
			next.Records, next.Latest = 0, 0
			var sent []uint64
			for i := range records {
				if want.has(&records[i]) {
					sent = append(sent, records[i].sequence)
					next.Records++
					next.Latest = max(next.Latest, records[i].modified)
				}
			}
			if next.Records == 0 {
				next.Base = next.Sent
			}
			known = next
			if step%2 == 0 && len(sent) > 0 { // the client takes the answer
				for _, n := range sent {
					has[n] = true
				}
				asked = s3.FormatTime(time.Unix(next.Latest, 0).Add(time.Second), s3.TimeNaive)
			}
			for n := uint64(1); n <= known.Base; n++ {
				if !has[n] {
					t.Fatalf("record %d counts as taken and never was: %+v", n, known)
				}
			}
		}
	})
}
