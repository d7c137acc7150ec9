package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestTwoPullsAtATime has a repository ask twice at a time and take only the
// first answer: what only the second had still comes.
func TestTwoPullsAtATime(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.register(t, peer)
	// More than what lies between the two ends of a connection.
	var elements []string
	for i := range 24 {
		elements = append(elements, organisation(fmt.Sprintf("urn:x:%d", i), strings.Repeat("x", 1<<20), "2040-01-01T00:00:00"))
	}
	f.send(t, pushPath("org_organisation", peer), document(elements...))
	begin := func() *http.Response {
		t.Helper()
		response, err := http.Get(f.address + pushPath("org_organisation", peer))
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	end := func(r *http.Response) {
		t.Helper()
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Fatal(err)
		}
		if err := r.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	first := begin()
	f.send(t, pushPath("org_organisation", peer), document(organisation("urn:x:late", "Late", "2020-10-05T00:00:00"), organisation("urn:x:next", "Next", "2041-01-01T00:00:00")))
	second := begin()
	end(first)
	end(second)
	if got := names(f.read(t, pushPath("org_organisation", peer, "&msince=2040-01-01T00:00:01"))); got["urn:x:late"] != "Late" {
		t.Errorf("what only the second answer had is lost: %d records", len(got))
	}
}
