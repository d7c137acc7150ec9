// Package files reads directory trees: each file is one record, its path the
// key, its content a part that is opened only when somebody wants it.
//
// The package lists, stamps and opens files below one root, and nothing
// outside it. It never decides what changed (it hands out versions and
// positions for that), never reads a file in order to list it unless content
// hashes are asked for, and never writes.
package files
