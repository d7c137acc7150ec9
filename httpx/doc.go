// Package httpx is what clients of outside systems share about asking again:
// which statuses promise something, and how long to wait.
//
// Only that lives here: no client, no protocol, no classification of errors,
// which differs from system to system.
package httpx
