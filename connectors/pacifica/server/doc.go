// Package server is the cart service of Pacifica as an [http.Handler]: carts
// are ordered, their files verified, and downloaded as one tar archive. The
// original Python client works against it as it is.
//
// Where the files are is the business of [Files]; [OpenFolder] is one, parts of
// hub records are another elsewhere. Nothing is copied: a cart is ready once
// every file of it has been read and has the hash that was ordered, and every
// byte is hashed again while it is sent. A file that has changed in between
// ends the connection in a way that no client takes for the end of the archive,
// and the cart is verified anew.
//
// A cart is durable before it is acknowledged. The archive of a cart is made
// while it is sent, and is the same bytes each time: it has a length, a strong
// ETag and ranges.
//
// No configuration and no credentials live here, and no records.
package server
