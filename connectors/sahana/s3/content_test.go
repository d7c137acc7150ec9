package s3_test

import (
	"testing"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

func TestContent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, data, want string }{
		{"meta", `{"name":"a","_meta":{"uuid":"u","mci":1,"modified_on":"2026-01-01T00:00:00"}}`, `{"name":"a"}`},
		{"nothing else", `{"_meta":{"uuid":"u"}}`, `{}`},
		{
			"components", `{"_components":{"pr_contact":[{"value":"x","_meta":{"uuid":"c","mci":2}},{"_meta":{"mci":2}}]},"n":1.50}`,
			`{"_components":{"pr_contact":[{"value":"x","_meta":{"uuid":"c"}},{}]},"n":1.50}`,
		},
		{
			"how it is shown", `{"r":"k","_references":{"r":{"resource":"org_region","text":"North"}},"_fields":{"year":{"text":"1999"},"f":{"filename":"a.pdf","url":"http://x"}}}`,
			`{"r":"k","_references":{"r":{"resource":"org_region"}},"_fields":{"f":{"filename":"a.pdf"}}}`,
		},
		{"what is not understood stays", `{"_components":7,"_references":[1],"_fields":{"a":"b"}}`, `{"_components":7,"_references":[1],"_fields":{"a":"b"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := s3.Content([]byte(c.data))
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
			if again, err := s3.Content(got); err != nil || string(again) != string(got) {
				t.Errorf("the content of the content is %s, %v", again, err)
			}
		})
	}
	for _, bad := range []string{``, `[]`, `{`, `7`} {
		if got, err := s3.Content([]byte(bad)); err == nil {
			t.Errorf("%q has the content %s", bad, got)
		}
	}
}
