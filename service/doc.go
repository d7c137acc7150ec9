// Package service is what runs for longer than one command: an opened
// [Project] with its stores, and the daemon that owns one and answers for it.
//
// The daemon has two doors. The first is HTTP on loopback, read-only: health,
// metrics, status and search as JSON. The second is a Unix socket in the
// project's state folder, for this machine's user alone: while the daemon
// owns the stores, a command sends its arguments through the socket, the
// daemon executes it with the stores it has open, and output, progress and
// exit code come back. How a command is executed is handed in as an [Exec];
// nothing here knows the command line, and nothing here decides what a run
// does.
package service
