package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/resolve"
)

func TestSidesNeverShowSecrets(t *testing.T) {
	t.Parallel()
	input := `connectors: {a: {between: [{shelf: {connector: x, read_key: "${TOKEN}", write_key: "${TOKEN}"}}, hub]}}`
	c, problems := parse("f", "/", []byte(input), testLookup, testConnectors())
	if len(problems) > 0 {
		t.Fatal(texts(problems))
	}
	side := c.Connectors[0].Between.Sides[0]
	if side.Source.Options["read_key"] != canary || side.Destination.Options["write_key"] != canary {
		t.Errorf("the secrets are not resolved: %v", side)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(verb, side) + fmt.Sprintf(verb, *c.Connectors[0].Between); strings.Contains(shown, canary) {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
}

// TestPolicyDeclarationIsTrue holds what editors are told of a policy to what
// package resolve understands.
func TestPolicyDeclarationIsTrue(t *testing.T) {
	t.Parallel()
	for _, o := range gapless.DescribeOptions(new(resolving)) {
		values := o.Enum
		if len(values) == 0 {
			values = []string{o.Default + o.Example}
		}
		for _, value := range values {
			var given any = value
			if o.Type == "list" {
				given = []any{"create", "update"}
			}
			if _, mistakes := resolve.DecodePolicy(map[string]any{o.Name: given}); len(mistakes) > 0 {
				t.Errorf("%s: %s: %v", o.Name, value, mistakes)
			}
		}
		if o.Default == "" {
			continue
		}
		plain, _ := resolve.DecodePolicy(nil)
		shown, _ := resolve.DecodePolicy(map[string]any{o.Name: o.Default})
		if fmt.Sprintf("%+v", plain) != fmt.Sprintf("%+v", shown) {
			t.Errorf("%s is %s, but by default %+v", o.Name, o.Default, plain)
		}
	}
}
