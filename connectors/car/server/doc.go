// Package server is the service that CAR connectors import into, as an
// [http.Handler] for the paths below /api/car/v2 and /api/car/v3.
//
// It takes imports and answers for them, opens and ends full imports, retires
// what they did not send, keeps source documents and schema extensions, and
// hands queries to package query. What an answer calls done is durable by then.
//
// Rows live in a [Store], one [Corpus] per source: a vertex in its collection
// under its id, an edge under [wire.EdgeKey] of its ends, both as they were
// sent. Their version is the number of the full import that was open, or had
// been last, when they came. A row that is retired leaves its collection and
// goes into that of the same name with [query.HistorySuffix].
//
// No storage, no configuration and no credentials live here.
package server
