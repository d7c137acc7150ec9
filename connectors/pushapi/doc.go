// Package pushapi speaks the Push API, version 4: the protocol by which
// connectors push documents, deletes and checkpoints to a search server.
//
// [PushAPI] is the client's interface, made of small roles; [HTTPPushAPI]
// speaks it to a server, [FakePushAPI] is such a server in memory with a clock
// that stands still, faults and crashes, and the filters ([NewBuffering],
// [NewBackground], [NewDryRun], [NewTrace], [NewRateLimit]) wrap any of them.
// The wire format (names, fields, lines, errors) is declared once and used by
// the client and the server alike.
//
// The package knows no configuration file, schedules nothing, and reaches a
// store only through the interface that its server declares.
package pushapi
