package resolve_test

import (
	"fmt"
	"time"

	"github.com/gapless-sync/gapless/resolve"
)

func Example() {
	resolver, err := resolve.Compile(resolve.Policy{
		Default: resolve.Newer,
		Fields:  map[string]resolve.Resolution{"stock": resolve.Counter, "tags": resolve.Union},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	monday := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	result, err := resolver.Resolve(&resolve.Input{
		Base:   []byte(`{"name":"Depot","phone":"1","stock":10,"tags":["a"]}`),
		Local:  resolve.Side{Data: []byte(`{"name":"Depot 7","phone":"2","stock":12,"tags":["a","b"]}`), Modified: resolve.At(monday)},
		Remote: resolve.Side{Data: []byte(`{"name":"Depot","phone":"3","stock":9,"tags":["a","c"]}`), Modified: resolve.At(monday.Add(time.Hour))},
		Now:    monday.Add(2 * time.Hour),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s\n", result.Action, result.Data)
	for _, d := range result.Fields {
		fmt.Println(d.Field, d.Choice, d.Rule)
	}
	for _, l := range result.Losers {
		fmt.Printf("not taken: %s %s of %s by %s\n", l.Side, l.Local, l.Field, l.Rule)
	}
	// Output:
	// update {"name":"Depot 7","phone":"3","stock":11,"tags":["a","b","c"]}
	// name local R16
	// phone remote R20
	// stock both R28
	// tags both R27
	// not taken: local "2" of phone by R20
}
