// Package httpx is what clients of outside systems share about waiting and
// asking again: how long silence is borne, which statuses promise something,
// and how long to wait before the next attempt.
//
// Only that lives here: no client, no protocol, no classification of errors,
// which differs from system to system.
package httpx
