package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/catalog"
)

func source(name string) gapless.Connector {
	return gapless.Connector{
		Name: name, Summary: "Nothing",
		Source: gapless.OpenSource(func(context.Context, struct{}, gapless.Env) (gapless.Source, error) { return nil, nil }),
	}
}

func TestWithExtendsACopy(t *testing.T) {
	t.Parallel()
	builtin := catalog.Builtin()
	a, b := builtin.With(source("a")), builtin.With(source("b"))
	_, leaked := a.Lookup("b")
	_, added := b.Lookup("b")
	if leaked || !added || len(builtin.Connectors())+1 != len(a.Connectors()) {
		t.Error("catalogues share their connectors")
	}
	if a.Hubs() == nil || a.Hubs() != builtin.Hubs() {
		t.Error("an extended catalogue has other hubs")
	}
}

func TestErrNamesTheFirstMistake(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string
		catalog    catalog.Catalog
	}{
		{"built in", "", catalog.Builtin()},
		{"one more", "", catalog.Builtin().With(source("mine"))},
		{"name taken", "two connectors", catalog.Builtin().With(source("files"))},
		{"twice the same", "two connectors", catalog.Builtin().With(source("mine"), source("mine"))},
		{"not a name", "cannot be the name", catalog.Builtin().With(source("My own"))},
		{"no name", "cannot be the name", catalog.Builtin().With(source(""))},
		{"no use", "neither", catalog.Builtin().With(gapless.Connector{Name: "idle"})},
		{"the first of two", "cannot be the name", catalog.Builtin().With(source("A"), source("files"))},
		{"from nothing", "begin with", catalog.Catalog{}.With(source("mine"))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.catalog.Err()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestBuiltinConnectorsExplainThemselves holds what gapless connectors shows.
func TestBuiltinConnectorsExplainThemselves(t *testing.T) {
	t.Parallel()
	for _, c := range catalog.Builtin().Connectors() {
		if c.Summary == "" || strings.HasSuffix(c.Summary, ".") || c.Help == "" || c.Example == "" {
			t.Errorf("%s: wants a summary without a full stop, help and an example", c.Name)
		}
	}
}

func ExampleCatalog_With() {
	mine := gapless.Connector{
		Name: "mine", Summary: "A system of my own",
		Source: gapless.OpenSource(func(context.Context, struct{}, gapless.Env) (gapless.Source, error) { return nil, nil }),
	}
	c := catalog.Builtin().With(mine)
	found, _ := c.Lookup("mine")
	fmt.Println(found.Summary, c.Err())
	// Output: A system of my own <nil>
}

func TestBuiltinNames(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range catalog.Builtin().Connectors() {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"files", "jsonl", "csv", "hub", "pushapi", "car", "sahana", "pacifica"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
