package delta_test

import (
	"bytes"
	"fmt"
	"hash/crc64"

	"github.com/gapless-sync/gapless/delta"
)

func Example() {
	var base *delta.Table // none the first time
	for _, enumeration := range []map[string]string{
		{"a": "one", "b": "two", "c": "three"},
		{"a": "one", "b": "two and a half", "d": "four"},
	} {
		c := delta.New(base, &memory{}, 64<<20)
		for _, key := range []string{"a", "b", "c", "d"} {
			if text, ok := enumeration[key]; ok {
				content := crc64.Checksum([]byte(text), crc64.MakeTable(crc64.ECMA))
				verdict, err := c.Add([]byte(key), hashOf(key), content, 0)
				fmt.Println(key, verdict, err)
			}
		}
		if err := c.Finish(scratch); err != nil {
			fmt.Println(err)
		}
		_ = c.Absent(func(key []byte) error { fmt.Println(string(key), "absent"); return nil })

		var file bytes.Buffer
		if err := c.WriteTable(&file, nil); err != nil {
			fmt.Println(err)
		}
		base, _ = delta.OpenTable(bytes.NewReader(file.Bytes()), int64(file.Len()))
	}
	// Output:
	// a created <nil>
	// b created <nil>
	// c created <nil>
	// a unchanged <nil>
	// b updated <nil>
	// d created <nil>
	// c absent
}
