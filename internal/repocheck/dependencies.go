package repocheck

// Dependency is one module that this one requires directly.
type Dependency struct {
	Module string
	// Rooms are the packages whose code imports it; tests anywhere may. None
	// means that only tests do.
	Rooms []string
	// Why it is taken rather than written or left out.
	Why string
}

// Dependencies returns the reviewed list: go.mod requires exactly these.
func Dependencies() []Dependency {
	return []Dependency{
		{"github.com/blevesearch/bleve/v2", []string{"hub"}, "full text with facets, highlighting and field queries"},
		{"github.com/blevesearch/bleve_index_api", []string{"hub"}, "the types that bleve's readers and analysers speak"},
		{"github.com/cockroachdb/pebble/v2", []string{"hub", "internal/bench"}, "apply unsynced, sync the log, snapshot: exactly pushed, synced and the synced view"},
		{"github.com/cloudevents/sdk-go/v2", []string{"event"}, "the envelopes of CloudEvents 1.0, in structured and binary form"},
		{"github.com/expr-lang/expr", []string{"mapping", "resolve"}, "filters whose types are checked when they are loaded, with bounded memory"},
		{"github.com/go-jose/go-jose/v4", []string{"connectors/car/framework"}, "the encrypted secrets that pods of CAR connectors are given"},
		{"github.com/goccy/go-yaml", []string{"config"}, "a YAML syntax tree that knows lines and columns"},
		{"github.com/google/jsonschema-go", []string{"config", "connectors/car/framework"}, "the schema for editors; rows checked against a service's schema before they are sent"},
		{"github.com/klauspost/compress", []string{"connectors/*"}, "zstd, and gzip three times as fast as the standard library's"},
		{"github.com/lmittmann/tint", []string{"cli"}, "readable logs on a terminal"},
		{"github.com/nats-io/nats.go", []string{"service"}, "events from a NATS subject"},
		{"github.com/pressly/goose/v3", []string{"state/sqlite", "state/postgres"}, "migrations embedded as SQL"},
		{"github.com/prometheus/client_golang", []string{"service"}, "metrics"},
		{"github.com/spf13/cobra", []string{"cli"}, "commands, help and shell completion"},
		{"github.com/theory/jsonpath", []string{"event"}, "JSONPath of RFC 9535, to match events"},
		{"github.com/tidwall/gjson", []string{"mapping", "resolve", "delta", "hub", "cli", "connectors/*", "connectors/car/framework", "connectors/car/server", "connectors/car/server/query", "connectors/sahana/s3", "connectors/sahana/server", "internal/bench"}, "validates and reads fields of raw bytes without decoding them"},
		{"github.com/vektah/gqlparser/v2", []string{"connectors/car/server/query"}, "the syntax of GraphQL"},
		{"github.com/vbauerster/mpb/v8", []string{"cli"}, "progress bars"},
		{"github.com/zeebo/xxh3", []string{"engine", "proof", "delta", "hub", "connectors/*", "connectors/sahana/s3", "connectors/car/framework"}, "digests and fingerprints at memory speed; not cryptographic"},
		{"golang.org/x/crypto", []string{"connectors/pushapi"}, "hashes of passwords: argon2id and bcrypt"},
		{"golang.org/x/sync", []string{"engine", "service", "cli", "hub", "connectors/car"}, "errgroup"},
		{"golang.org/x/time", []string{"transfer"}, "one rate limit for all streams"},
		{"modernc.org/sqlite", []string{"state/sqlite"}, "one file an operator can open, without cgo"},
		{"github.com/google/go-cmp", nil, "readable differences"},
		{"github.com/nats-io/nats-server/v2", nil, "a broker in the process of a test"},
		{"github.com/rogpeppe/go-internal", nil, "whole-command tests as text archives"},
		{"go.uber.org/goleak", nil, "no goroutine outlives its test"},
		{"pgregory.net/rapid", nil, "property tests that shrink"},
	}
}
