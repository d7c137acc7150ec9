// Package sqlite keeps the engine's state on one node, in a single SQLite file
// that an operator can open with any SQLite tool. The schema is in
// migrations/, with a comment per table.
//
// A commit is durable when it returns: the file is in WAL mode with
// synchronous=FULL. Writes of all processes queue for the one writer that
// SQLite allows; readers never wait for them. Several processes may have the
// file open; state.lock beside it makes sure that one alone migrates it.
//
// All statements are common to SQLite and PostgreSQL. What is SQLite alone is
// in open.go (files, connections, migration) and errors.go (error codes).
// Nothing here decides anything: what the rows mean is said by package state.
package sqlite
