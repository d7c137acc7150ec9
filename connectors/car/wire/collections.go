package wire

import (
	"slices"
	"strings"
)

// Limits of the protocol.
const (
	// MaxReportBytes is the documented size of one import.
	MaxReportBytes = 8 << 20
	// PageRows is how many rows an import has unless told otherwise.
	PageRows = 2000
)

// SourceField names the source document and the field of an envelope that
// holds it; ReportField that of the report.
const (
	SourceField = "source"
	ReportField = "report"
)

// Vertices returns the vertex collections that every service has, sorted.
func Vertices() []string {
	return []string{
		"account", "application", "asset", "businessprocess", "container", "database", "geolocation", "hostname",
		"ipaddress", "ipregion", "macaddress", "port", "tag", "user", "vulnerability",
	}
}

// Edges returns the edge collections that every service has, sorted. Those of
// tags are named after any vertex and are not listed.
func Edges() []string {
	return []string{
		"account_application", "account_database", "account_hostname", "account_ipaddress",
		"application_database", "application_ipaddress", "application_port", "application_vulnerability",
		"asset_account", "asset_application", "asset_container", "asset_database", "asset_geolocation", "asset_hostname",
		"asset_ipaddress", "asset_macaddress", "asset_vulnerability",
		"businessprocess_account", "businessprocess_application",
		"database_ipaddress", "database_vulnerability",
		"ipaddress_container", "ipaddress_geolocation", "ipaddress_hostname", "ipaddress_macaddress", "ipaddress_port",
		"ipaddress_vulnerability", "port_vulnerability", "user_account",
	}
}

// Keyed reports whether the vertices of a collection are identified by _key,
// which is their address or name, instead of external_id.
func Keyed(collection string) bool {
	return collection == "ipaddress" || collection == "hostname" || collection == "macaddress"
}

// KeyField returns the field that identifies the rows of a vertex collection.
func KeyField(collection string) string {
	if Keyed(collection) {
		return "_key"
	}
	return "external_id"
}

// Ends returns the collections that an edge collection joins. Its name is that
// of both, joined by an underscore; where that can be read in several ways, the
// one whose ends are core collections or extra wins.
func Ends(edge string, extra ...string) (from, to string, ok bool) {
	known := func(name string) bool {
		_, found := slices.BinarySearch(Vertices(), name)
		return found || slices.Contains(extra, name)
	}
	for i := range len(edge) {
		if edge[i] != '_' || i == 0 || i == len(edge)-1 {
			continue
		}
		a, b := edge[:i], edge[i+1:]
		both := known(a) && known(b)
		if !ok || both {
			from, to, ok = a, b, true
		}
		if both {
			break
		}
	}
	return from, to, ok
}

// IsName reports whether a collection can have this name: letters, digits and
// underscores, at most 128.
func IsName(collection string) bool {
	if collection == "" || len(collection) > 128 || collection[0] == '_' {
		return false
	}
	return strings.IndexFunc(collection, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}
