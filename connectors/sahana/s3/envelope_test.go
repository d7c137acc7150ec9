package s3

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestEnvelope(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       Envelope
		ok         bool
		written    string // as it is written again; empty: text
	}{
		{"import", `{"status":"success","statuscode":"200","records":8,"created":[3,4],"updated":[1,2],"deleted":[5],"skipped":[9]}`,
			Envelope{Status: "success", StatusCode: 200, Records: new(8), Created: []int64{3, 4}, Updated: []int64{1, 2}, Deleted: []int64{5}, Skipped: []int64{9}}, true, ""},
		{"registration", `{"status":"success","statuscode":"200","message":"Registration successful","sender":"urn:uuid:e826"}`,
			Envelope{Status: "success", StatusCode: 200, Message: "Registration successful", Sender: "urn:uuid:e826"}, true, ""},
		{"failure with a tree", `{"status":"failed","statuscode":"400","records":0,"message":"Validation error","tree":{"$_org_organisation":[{"website":{"@value":"x","@error":"website: Enter a valid URL","$":"x"},"@uuid":"urn:1","@error":"Validation error"}]}}`,
			Envelope{Status: "failed", StatusCode: 400, Records: new(0), Message: "Validation error", Tree: []Resource{{
				Name: "org_organisation", UUID: "urn:1", Error: "Validation error",
				Fields: []Field{{Name: "website", Value: json.RawMessage(`"x"`), Text: "x", Error: "website: Enter a valid URL"}},
			}}}, false,
			`{"status":"failed","statuscode":"400","records":0,"message":"Validation error","tree":{"$_org_organisation":[{"@uuid":"urn:1","@error":"Validation error","website":{"@value":"x","@error":"website: Enter a valid URL","$":"x"}}]}}`},
		{"texts and nulls", "\uFEFF {\"status\":\"Success\",\"statuscode\":200,\"records\":\"2\",\"created\":[\"3\"],\"updated\":4,\"deleted\":null,\"new\":{}}\n",
			Envelope{Status: "success", StatusCode: 200, Records: new(2), Created: []int64{3}, Updated: []int64{4}}, true,
			`{"status":"success","statuscode":"200","records":2,"created":[3],"updated":[4]}`},
		{"old answer", `{"statuscode":"201"}`, Envelope{StatusCode: 201}, true, `{"status":"","statuscode":"201"}`},
		{"nothing said", `{}`, Envelope{}, false, `{"status":""}`},
		{"tree that cannot be understood", `{"status":"failed","tree":{"$_a":[{"@mci":"many","@error":"mci"}]}}`,
			Envelope{Status: "failed", Tree: []Resource{{Name: "a", Error: "mci"}}}, false, `{"status":"failed","tree":{"$_a":[{"@error":"mci"}]}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := ReadEnvelope(strings.NewReader(test.text), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if got.OK() != test.ok {
				t.Errorf("OK is %v", got.OK())
			}
			if test.written == "" {
				test.written = test.text
			}
			written, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.written, string(written)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBrokenEnvelopes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"page", "<html><title>Ticket issued</title>", `HTML instead of JSON, a page with the title "Ticket issued"`},
		{"text", "Authentication Required", `text instead of JSON, beginning with "Authentication Required"`},
		{"nothing", "", "the body is empty instead of JSON"},
		{"list", "[]", `JSON instead of JSON, beginning with "[]"`},
		{"cut off", `{"status":`, "not JSON"},
		{"no UTF-8", "{\"status\":\"\xff\"}", "not UTF-8"},
		{"records", `{"records":"many"}`, "member records"},
		{"numbers", `{"created":["x"]}`, `"x" is no number`},
		{"tree", `{"tree":[]}`, "member tree"},
		{"deep tree", `{"tree":{"$_a":{"b":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}}`, "levels"},
		{"too long", `{"message":"` + strings.Repeat("x", 5000) + `"}`, "more than 4096 bytes of an answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			limits := DefaultLimits()
			limits.ResourceBytes = 4096
			_, err := ReadEnvelope(strings.NewReader(test.text), limits)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	lost := errors.New("connection lost")
	if _, err := ReadEnvelope(iotest.ErrReader(lost), Limits{}); !errors.Is(err, lost) {
		t.Error(err)
	}
	if _, err := (Envelope{Tree: []Resource{{}}}).MarshalJSON(); err == nil {
		t.Error("a tree with a resource without a name is written")
	}
	if _, err := (Envelope{Message: "\xff"}).MarshalJSON(); err == nil {
		t.Error("a message that is not UTF-8 is written")
	}
}
