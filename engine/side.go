package engine

import (
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/resolve"
)

// Side is one end of a two-way connector, which is read and written.
type Side struct {
	// Name is the kind of connector, for people.
	Name        string
	Source      gapless.Source
	Destination gapless.Destination
}

// ends checks that there is either a source and a destination or two sides,
// and compiles the policy of the latter.
func (c *Config) ends() (*resolve.Resolver, error) {
	if len(c.Sides) == 0 {
		if c.Source == nil || c.Destination == nil {
			return nil, errors.New("engine: source and destination are both needed")
		}
		return nil, nil
	}
	if len(c.Sides) != 2 || c.Source != nil || c.Destination != nil || !c.Mapping.IsIdentity() {
		return nil, errors.New("engine: a two-way connector has two sides and nothing else")
	}
	for _, s := range c.Sides {
		if s.Source == nil || s.Destination == nil {
			return nil, fmt.Errorf("engine: side %s needs a source and a destination", s.Name)
		}
	}
	if c.Policy.Compat != "" && c.Policy.Compat != resolve.Strict {
		return nil, gapless.Misconfigured(fmt.Errorf("a two-way connector decides by the rules %s, not %s", resolve.Strict, c.Policy.Compat))
	}
	policy := c.Policy
	policy.Strategy = nil // it is applied where something is pushed, to both sides alike
	return resolve.Compile(policy)
}

// policyText says what decides between two sides: if it changes, all that was
// withheld is looked at again.
func (c *Config) policyText() string {
	if len(c.Sides) == 0 {
		return ""
	}
	policy := c.Policy
	policy.Hook = nil
	return fmt.Sprintf("%+v", policy)
}
