package config

import (
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// Cart configures the service that clients of Pacifica order files from.
type Cart struct {
	Listen   string            `option:"listen" help:"Address to serve it at, HOST:PORT. Without one it is not served." example:"127.0.0.1:8081"`
	Root     string            `option:"root" help:"Folder whose files are served, each by its path in it as its id." example:"./archive"`
	Parts    string            `option:"parts" help:"CONNECTOR/COLLECTION of the hub, to serve the parts of its records instead of a folder." example:"docs/file"`
	Users    map[string]string `option:"users" help:"Hash of each user's password, as gapless hash-password prints it. Without users and tokens everybody is let in, which is refused beyond loopback."`
	Tokens   map[string]string `option:"tokens" help:"Hash of each bearer token, as gapless hash-password prints it, by a name of your own."`
	TLSCert  string            `option:"tls_cert" help:"File with the server's certificate, PEM, and those that sign it." example:"./server.crt"`
	TLSKey   string            `option:"tls_key" help:"File with the certificate's key, PEM." example:"./server.key"`
	Keep     time.Duration     `option:"keep" default:"24h" help:"How long a cart is kept that nobody downloads."`
	MaxFiles int               `option:"max_files" default:"100000" help:"Most files of one cart."`
	MaxCarts int               `option:"max_carts" default:"1000" help:"Most carts of one user."`
	MaxBody  gapless.ByteSize  `option:"max_body" default:"100MiB" help:"Largest order."`
}

// cart reads the block of the cart service.
func (l *loader) cart(n *node) {
	l.settings(n, "cart", &l.config.Cart)
	c := l.config.Cart
	e, found := n.get("cart")
	if !found || c.Listen == "" {
		return
	}
	connector, collection, named := strings.Cut(c.Parts, "/")
	switch {
	case (c.Root == "") == (c.Parts == ""):
		l.add(e.at, gapless.CodeMissingOption, "the cart service serves either a folder or parts of records", "add root: with a folder, or parts: with CONNECTOR/COLLECTION")
	case c.Parts != "" && (!named || connector == "" || collection == ""):
		l.addf(e.at, gapless.CodeInvalidOption, "write CONNECTOR/COLLECTION, such as docs/file", "parts is %s", shorten(c.Parts))
	}
}
