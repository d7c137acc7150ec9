package car

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// TestOneNameOfVerticesAndEdges: of a name that stands twice in a report, a
// service sees one.
func TestOneNameOfVerticesAndEdges(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	s := openModel(t, service.client(t), 1)
	push(t, s, `+ cloud_thing/1 {"name":"a"}`, `+ cloud_thing/2|3 {"name":"b"}`)
	syncAt(t, s, "1")
	for _, line := range service.requestsSince(0) {
		if strings.Count(line, `"cloud_thing":[`) > 1 {
			t.Errorf("the name stands twice: %s", line)
		}
	}
}

func TestPagesAreNeverLarger(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	most := 0
	service.fault = func(_ int, r *http.Request, body []byte, _ http.ResponseWriter) bool {
		if strings.HasSuffix(r.URL.Path, "/imports") {
			most = max(most, len(body))
		}
		return false
	}
	s := openModel(t, service.client(t), 1, func(o *DestinationOptions) { o.PageBytes = 1000 })
	for i := range 9 {
		push(t, s, fmt.Sprintf(`+ asset/%d {"name":%q}`, i, strings.Repeat("x", 700)))
	}
	syncAt(t, s, "1")
	if most > 1300 {
		t.Errorf("an import of %d bytes", most)
	}
	if n := len(service.ids("asset")); n != 9 {
		t.Errorf("%d rows", n)
	}
}

// TestEdgesFollowTheirVertices: an edge is posted when all vertices before it
// are complete, however full the pages are.
func TestEdgesFollowTheirVertices(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	held := map[string]bool{}
	service.bad = func(name string, row map[string]json.RawMessage) string {
		if name == "asset" {
			held[rowID(name, row)] = true
			return ""
		}
		if from, _, ok := wire.SplitEdgeKey(rowID(name, row)); ok && name == "asset_ipaddress" && !held[from] {
			t.Errorf("the edge of %s comes before it", from)
		}
		return ""
	}
	s := openModel(t, service.client(t), 1, func(o *DestinationOptions) { o.PageRows = 5 })
	var lines []string
	for i := range 13 {
		lines = append(lines, fmt.Sprintf("+ asset/%d {}", i), fmt.Sprintf("+ ipaddress/10.0.0.%d {}", i))
	}
	for i := range 13 {
		lines = append(lines, fmt.Sprintf("+ asset_ipaddress/%d|10.0.0.%d {}", 12-i, 12-i))
	}
	push(t, s, lines...)
	syncAt(t, s, "1")
}

// TestOpenPagesAreBounded: many collections of large rows.
func TestOpenPagesAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 40 MiB")
	}
	t.Parallel()
	service := newScripted(t)
	s := openModel(t, service.client(t), 1)
	large := strings.Repeat("x", 1<<20)
	for i := range 40 {
		push(t, s, fmt.Sprintf(`+ c%d/1 {"name":%q}`, i, large))
		if n := s.(*session).openBytes(); n > maxUnsettledBytes+2<<20 {
			t.Fatalf("%d bytes are open", n)
		}
	}
	syncAt(t, s, "1")
	for i := range 40 {
		if len(service.ids(fmt.Sprint("c", i))) != 1 {
			t.Errorf("c%d did not arrive", i)
		}
	}
}

// TestEndsOfAnExtension: the collections of an edge are those that the
// extension says, whatever its name could mean.
func TestEndsOfAnExtension(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	s := openModel(t, service.client(t), 1, func(o *DestinationOptions) {
		o.Extension = &Extension{Key: "k", Owner: "o", Version: "1", Schema: []byte(`{"vertices":[{"name":"my_site"}],"edges":[{"end1":"my_site","end2":"ipaddress"}]}`)}
	})
	push(t, s, "- my_site_ipaddress/1|10.0.0.1")
	push(t, s, `~ my_site_ipaddress/2|10.0.0.2 {"active":true}`)
	syncAt(t, s, "1")
	for _, want := range []string{"from=1&to=0%2F10.0.0.1 ", "from=2&to=0%2F10.0.0.2 "} {
		if got := strings.Join(service.requestsSince(0), "\n"); !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
