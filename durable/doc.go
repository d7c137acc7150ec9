// Package durable writes files that are there in full or not at all, also after
// a crash of the machine.
//
// What lives here: the write, the exchange and the syncs, for paths that the
// program chose itself. Paths that strangers name are opened below an
// [os.Root] by whoever takes them, never here.
package durable
