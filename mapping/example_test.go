package mapping_test

import (
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
)

func Example() {
	program, err := mapping.Compile(mapping.Spec{
		Filter: `size < 1000000 && lang == "en"`,
		Set:    map[string]string{"title": "name", "kind": `"doc"`, "size_kb": "size / 1024"},
		Drop:   []string{"size"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var in, out gapless.Batch
	in.Append(gapless.Change{Record: gapless.Record{Key: "1", Data: []byte(`{"name":"A","lang":"en","size":2048,"id":12345678901234567890}`)}})
	in.Append(gapless.Change{Record: gapless.Record{Key: "2", Data: []byte(`{"name":"B","lang":"de","size":1}`)}})
	if err := program.Apply(&in, &out, nil); err != nil {
		fmt.Println(err)
		return
	}
	for i := range out.Len() {
		fmt.Printf("%s %s\n", out.Key(i), out.Data(i))
	}
	fmt.Println(program.Fields())
	// Output:
	// 1 {"name":"A","lang":"en","id":12345678901234567890,"kind":"doc","size_kb":2,"title":"A"}
	// [lang name size]
}
