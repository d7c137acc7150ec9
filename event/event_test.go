package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden reads each event of testdata and compares it, written as version
// 1.0, with the golden file beside it, which the CloudEvents SDK must read as
// the same event. Golden files cannot know the local zone: the time of the event
// that has none is left out.
func TestGolden(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/*-*.json")
	if err != nil || len(inputs) < 7 {
		t.Fatalf("only %d inputs: %v", len(inputs), err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(input), func(t *testing.T) {
			t.Parallel()
			doc, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			e, err := event.Decode(doc)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Base(input) == "ingest-0.1.json" {
				e.Time = time.Time{}
			}
			got, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(input, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Error(diff)
			}
			roundTrip(t, e)
			comparedWithSDK(t, compacted(t, e), got)
		})
	}
}

// comparedWithSDK lets the SDK read what was written.
func comparedWithSDK(t *testing.T, e event.Event, doc []byte) {
	t.Helper()
	var other sdk.Event
	if err := other.UnmarshalJSON(doc); err != nil {
		if strings.Contains(e.DataContentType, "+json") {
			return // which the SDK takes for text
		}
		t.Fatal(err)
	}
	if err := other.Validate(); err != nil {
		t.Error(err)
	}
	type attributes struct{ ID, Type, Subject, DataContentType string }
	want := attributes{e.ID, e.Type, e.Subject, e.DataContentType}
	got := attributes{other.ID(), other.Type(), other.Subject(), other.DataContentType()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !e.Time.Equal(other.Time()) || len(e.Extensions) != len(other.Extensions()) {
		t.Errorf("time %s and %s, extensions %v and %v", e.Time, other.Time(), e.Extensions, other.Extensions())
	}
	data := []byte(e.Data)
	var text string
	if json.Unmarshal(data, &text) == nil && strings.HasPrefix(e.DataContentType, "text/") {
		data = []byte(text)
	}
	if e.Binary != nil {
		data = e.Binary
	}
	if !bytes.Equal(data, other.Data()) {
		t.Errorf("data %q and %q", data, other.Data())
	}
}

// compacted returns the event with its data on one line.
func compacted(t testing.TB, e event.Event) event.Event {
	t.Helper()
	if e.Data != nil {
		var out bytes.Buffer
		if err := json.Compact(&out, e.Data); err != nil {
			t.Fatal(err)
		}
		e.Data = out.Bytes()
	}
	return e
}

func TestDecode(t *testing.T) {
	t.Parallel()
	local := time.Date(2020, 5, 15, 13, 5, 10, 0, time.Local)
	for _, tt := range []struct {
		name, doc string
		want      event.Event
	}{
		{
			"0.1, time without zone", `{"cloudEventsVersion":"0.1","eventType":"t","source":"s","eventID":"1","eventTime":"2020-05-15T13:05:10","data":[]}`,
			event.Event{Version: "0.1", ID: "1", Source: "s", Type: "t", Time: local, Data: json.RawMessage(`[]`)},
		},
		{
			"1.0, time without zone", `{"specversion":"1.0","type":"t","source":"s","id":"1","time":"2020-05-15T13:05:10.000"}`,
			event.Event{Version: "1.0", ID: "1", Source: "s", Type: "t", Time: local},
		},
		{
			"null is nothing", `{"specversion":"1.0","type":"t","source":"s","id":"1","time":null,"subject":null,"data":null,"x":null}`,
			event.Event{Version: "1.0", ID: "1", Source: "s", Type: "t"},
		},
		{
			"names that 1.0 does not allow", `{"cloudEventsVersion":"0.1","eventType":"t","source":"s","eventID":"1","extensions":{"com.example-Key":"a","ID":"b","é":"c"}}`,
			event.Event{Version: "0.1", ID: "1", Source: "s", Type: "t", Extensions: map[string]string{"comexamplekey": "a", "xid": "b", "x": "c"}},
		},
		{
			"0.1 with other capitals", `{"cloudEventsVersion":"0.1","EventType":"t","Source":"s","eventId":"1"}`,
			event.Event{Version: "0.1", ID: "1", Source: "s", Type: "t"},
		},
		{
			"bytes that are JSON", `{"specversion":"1.0","type":"t","source":"s","id":"1","datacontenttype":"application/json","data_base64":"WzFd"}`,
			event.Event{Version: "1.0", ID: "1", Source: "s", Type: "t", DataContentType: "application/json", Data: json.RawMessage(`[1]`)},
		},
		{
			"bytes that are text", `{"specversion":"1.0","type":"t","source":"s","id":"1","datacontenttype":"text/csv","data_base64":"YSxi"}`,
			event.Event{Version: "1.0", ID: "1", Source: "s", Type: "t", DataContentType: "text/csv", Data: json.RawMessage(`"a,b"`)},
		},
		{
			"bytes of no type", `{"specversion":"1.0","type":"t","source":"s","id":"1","data_base64":"/w=="}`,
			event.Event{Version: "1.0", ID: "1", Source: "s", Type: "t", Binary: []byte{0xff}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.Decode([]byte(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnreadable covers what strangers may send. All of it is rejected, with
// the reason in words.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", ``, "unexpected end of JSON input"},
		{"no JSON", `{"specversion"`, "unexpected end"},
		{"two documents", `{} {}`, "after top-level value"},
		{"a list", `[]`, "a CloudEvent is a JSON object"},
		{"null", `null`, "a CloudEvent is a JSON object"},
		{"no version", `{"type":"t","source":"s","id":"1"}`, "neither specversion nor cloudEventsVersion"},
		{"an unknown version", `{"specversion":"0.3","type":"t","source":"s","id":"1"}`, `version "0.3" of CloudEvents is not known: 1.0 and 0.1 are`},
		{"an unknown old version", `{"cloudEventsVersion":"0.2","eventType":"t","source":"s","eventID":"1"}`, `version "0.2"`},
		{"a version that is a number", `{"specversion":1.0,"type":"t","source":"s","id":"1"}`, "its specversion is no string"},
		{"old names in 1.0", `{"specversion":"1.0","eventType":"t","source":"s","eventID":"1"}`, "id: MUST be a non-empty string"},
		{"no id", `{"specversion":"1.0","type":"t","source":"s"}`, "id: MUST be"},
		{"an empty source", `{"specversion":"1.0","type":"t","source":"","id":"1"}`, "source: REQUIRED"},
		{"an id that is a number", `{"specversion":"1.0","type":"t","source":"s","id":1}`, "its id is no string"},
		{"a line break in the id", `{"specversion":"1.0","type":"t","source":"s","id":"1\n2"}`, "its id has control characters"},
		{"a time that is none", `{"specversion":"1.0","type":"t","source":"s","id":"1","time":"yesterday"}`, `its time "yesterday"`},
		{"a year that is none in UTC", `{"specversion":"1.0","type":"t","source":"s","id":"1","time":"9999-12-31T23:59:59-01:00"}`, "its time"},
		{"a content type that is none", `{"specversion":"1.0","type":"t","source":"s","id":"1","datacontenttype":"?;"}`, `its content type "?;" is none`},
		{"a relative schema", `{"specversion":"1.0","type":"t","source":"s","id":"1","dataschema":"x"}`, "dataschema: "},
		{"data twice", `{"specversion":"1.0","type":"t","source":"s","id":"1","data":1,"data_base64":"WzFd"}`, "both data and data_base64"},
		{"base64 that is none", `{"specversion":"1.0","type":"t","source":"s","id":"1","data_base64":"*"}`, "its data_base64 is no base64"},
		{"base64 that is a number", `{"specversion":"1.0","data_base64":1,"type":"t","source":"s","id":"1"}`, "its data_base64 is no base64"},
		{"base64 that is a list", `{"specversion":"1.0","data_base64":[1],"type":"t","source":"s","id":"1"}`, "its data_base64 is no base64"},
		{"base64 of broken JSON", `{"specversion":"1.0","data_base64":"ew==","datacontenttype":"a/json","type":"t","source":"s","id":"1"}`, "unexpected end"},
		{"an object as text", `{"specversion":"1.0","type":"t","source":"s","id":"1","datacontenttype":"text/plain","data":{}}`, "should be a string"},
		{"extensions that are a list", `{"cloudEventsVersion":"0.1","eventType":"t","source":"s","eventID":"1","extensions":[]}`, "its extensions are no object"},
		{"extensions that become one", `{"cloudEventsVersion":"0.1","eventType":"t","source":"s","eventID":"1","extensions":{"a-b":"1","ab":"2"}}`, `two extensions are named "ab"`},
		{"attributes that become one", `{"cloudEventsVersion":"0.1","eventType":"t","source":"s","eventID":"1","eventId":"2"}`, "its id is there twice"},
		{"not UTF-8", "{\"specversion\":\"1.0\",\"type\":\"\xff\"}", "it is not UTF-8"},
		{"nested deeply", `{"specversion":"1.0","type":"t","source":"s","id":"1","data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested more than 100 deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := event.Decode([]byte(tt.doc))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %s", err, tt.want)
			}
			if gapless.KindOf(err) != gapless.KindRejected || gapless.ExitCode(err) != 55 {
				t.Errorf("%s, exit %d", gapless.KindOf(err), gapless.ExitCode(err))
			}
		})
	}
}

func TestDepthCountsNoBracketsOfStrings(t *testing.T) {
	t.Parallel()
	doc := `{"specversion":"1.0","type":"t","source":"s","id":"1","data":"\"` + strings.Repeat("[", 200) + `"}`
	if _, err := event.Decode([]byte(doc)); err != nil {
		t.Error(err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	const one = `{"specversion":"1.0","type":"t","source":"s","id":"1"}`
	for _, tt := range []struct {
		name, doc string
		large     bool
	}{
		{"a full batch", "[" + strings.Repeat(one+",", event.MaxBatch-1) + one + "]", false},
		{"one event more", "[" + strings.Repeat(one+",", event.MaxBatch) + one + "]", true},
		{"bytes", "[" + strings.Repeat(" ", event.MaxSize) + "]", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := event.DecodeBatch([]byte(tt.doc))
			if errors.Is(err, event.ErrTooLarge) != tt.large {
				t.Errorf("%v", err)
			}
			if !tt.large && err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	const first, second = `{"specversion":"1.0","type":"t","source":"s","id":"1"}`, `{"cloudEventsVersion":"0.1","eventType":"t","source":"s","eventID":"2"}`
	for _, tt := range []struct {
		name, doc, want string
		events          int
	}{
		{"both versions", "[" + first + "," + second + "]", "", 2},
		{"none", "[]", "", 0},
		{"one is wrong", "[" + first + ",1]", "event 2 of the batch: read the event: a CloudEvent is a JSON object", 0},
		{"no list", first, "a batch is a list", 0},
		{"null", "null", "a batch is a list", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			events, err := event.DecodeBatch([]byte(tt.doc))
			if len(events) != tt.events || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%d events, %v", len(events), err)
			}
		})
	}
}

func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	a, b := event.Event{Source: "x", ID: "yz"}, event.Event{Source: "xy", ID: "z"}
	if a.Key() == b.Key() {
		t.Errorf("%q", a.Key())
	}
}

// TestEncodeChecks covers events that were made, not decoded.
func TestEncodeChecks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		e    event.Event
	}{
		{"empty", event.Event{}},
		{"bytes that are too many in base64", event.Event{ID: "1", Source: "s", Type: "t", Binary: make([]byte, event.MaxSize*3/4)}},
		{"data that is no JSON", event.Event{ID: "1", Source: "s", Type: "t", Data: json.RawMessage("{")}},
		{"an extension of a bad name", event.Event{ID: "1", Source: "s", Type: "t", Extensions: map[string]string{"a b": ""}}},
		{"an extension of a taken name", event.Event{ID: "1", Source: "s", Type: "t", Extensions: map[string]string{"id": ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if doc, err := tt.e.Encode(); err == nil {
				t.Errorf("%s", doc)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/*-*.json")
	for _, seed := range seeds {
		doc, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Add([]byte(`{"specversion":"1.0","data_base64":1}`))
	f.Add([]byte(`{"specversion":"1.0","type":"t","source":"s","id":"1","data_base64":"IG51bGw="}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if e, err := event.Decode(doc); err == nil {
			roundTrip(t, e)
		} else if gapless.KindOf(err) != gapless.KindRejected {
			t.Errorf("%s: %v", gapless.KindOf(err), err)
		}
		_, _ = event.DecodeBatch(doc) // it must not panic
	})
}

// roundTrip checks that an event stays the same when it is stored.
func roundTrip(t *testing.T, e event.Event) {
	t.Helper()
	doc, err := e.Encode()
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	again, err := event.Decode(doc)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	e.Version = event.Version1
	if diff := cmp.Diff(compacted(t, e), again); diff != "" {
		t.Errorf("%s\n%s", doc, diff)
	}
}
