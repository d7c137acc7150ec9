// Package catalog is the one list of built-in connectors. [Builtin] returns it
// as a plain value; [Catalog.With] adds an author's own.
//
// Nothing registers itself: what is not written down in builtin.go is not
// linked. How a connector works and how it is configured is never known here.
package catalog
