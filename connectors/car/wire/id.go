package wire

import "strings"

// region is the only one of ip addresses, between source and address in the id
// of a query and before the address in its external_id.
const region = "0/"

// EdgeKey identifies an edge within its collection and source by the ids of
// its ends. Distinct pairs have distinct keys.
func EdgeKey(from, to string) string {
	return escapeEnd(from) + "|" + escapeEnd(to)
}

// EdgesFrom is the prefix that the keys of all edges from an id share.
func EdgesFrom(from string) string { return escapeEnd(from) + "|" }

// SplitEdgeKey is the reverse of [EdgeKey].
func SplitEdgeKey(key string) (from, to string, ok bool) {
	from, to, ok = strings.Cut(key, "|")
	if !ok || strings.Contains(to, "|") {
		return "", "", false
	}
	return unescapeEnd(from), unescapeEnd(to), true
}

func escapeEnd(id string) string {
	if !strings.ContainsAny(id, "%|") {
		return id
	}
	return strings.NewReplacer("%", "%25", "|", "%7C").Replace(id)
}

func unescapeEnd(id string) string {
	if !strings.Contains(id, "%") {
		return id
	}
	return strings.NewReplacer("%25", "%", "%7C", "|").Replace(id)
}

// GraphID is the id of a vertex in queries: the source and the id, with the
// region between them for ip addresses.
func GraphID(source, collection, id string) string {
	if collection == "ipaddress" {
		id = region + id
	}
	return source + "/" + id
}

// ExternalID is the external_id of a vertex in queries.
func ExternalID(collection, id string) string {
	if collection == "ipaddress" {
		return region + id
	}
	return id
}

// VertexID returns the id of a vertex without the region that ip addresses may
// have before them.
func VertexID(collection, value string) string {
	if collection == "ipaddress" {
		value = strings.TrimPrefix(value, region)
	}
	return value
}

// EndID returns the id that _from or _to of an edge means in a vertex
// collection: the plain one, or with the collection's name and a slash before
// it.
func EndID(collection, value string) string {
	return VertexID(collection, strings.TrimPrefix(value, collection+"/"))
}
