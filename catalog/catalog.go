package catalog

import (
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
)

// Catalog is a list of connectors. It is a value: copies are independent, but
// share the hubs that their built-in hub connector opens.
type Catalog struct {
	connectors []gapless.Connector
	hubs       *hub.Pool
	err        error
}

// With returns the catalogue with connectors added. A connector that cannot be
// used, because its name is taken or not a name or because it is neither
// source nor destination, makes [Catalog.Err] say so.
func (c Catalog) With(mine ...gapless.Connector) Catalog {
	c.connectors = slices.Clone(c.connectors)
	for _, m := range mine {
		if err := c.check(m); err != nil && c.err == nil {
			c.err = err
		}
		c.connectors = append(c.connectors, m)
	}
	return c
}

func (c Catalog) check(m gapless.Connector) error {
	_, taken := c.Lookup(m.Name)
	switch {
	case taken:
		return gapless.Errorf(gapless.CodeConfig, m.Name, "there are two connectors of that name").WithHint("give one of them another name")
	case !isName(m.Name):
		return gapless.Errorf(gapless.CodeConfig, "", "%q cannot be the name of a connector", m.Name).WithHint("use lower case letters, digits and dashes")
	case m.Source == nil && m.Destination == nil:
		return gapless.Errorf(gapless.CodeConfig, m.Name, "the connector is neither a source nor a destination")
	}
	return nil
}

func isName(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return s != ""
}

// Err returns what is wrong with the catalogue, or nil.
func (c Catalog) Err() error {
	if c.err == nil && c.hubs == nil {
		return fmt.Errorf("catalog: begin with catalog.Builtin()")
	}
	return c.err
}

// Lookup returns the connector of a name.
func (c Catalog) Lookup(name string) (gapless.Connector, bool) {
	i := slices.IndexFunc(c.connectors, func(k gapless.Connector) bool { return k.Name == name })
	if i < 0 {
		return gapless.Connector{}, false
	}
	return c.connectors[i], true
}

// Connectors returns all connectors: the built-in ones first, then added ones
// in the order of their addition.
func (c Catalog) Connectors() []gapless.Connector { return slices.Clone(c.connectors) }

// Hubs returns the pool that the built-in hub connector opens hubs from.
func (c Catalog) Hubs() *hub.Pool { return c.hubs }
