package event_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/google/go-cmp/cmp"
)

const one = `{"specversion":"1.0","type":"t","source":"s","id":"1"}`

func TestFromRequest(t *testing.T) {
	t.Parallel()
	plain := event.Event{Version: "1.0", ID: "1", Source: "s", Type: "t"}
	typed := func(media, data string) []event.Event {
		e := plain
		e.DataContentType, e.Data = media, json.RawMessage(data)
		return []event.Event{e}
	}
	binary := func(more ...string) http.Header {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return h
	}
	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		want   []event.Event
	}{
		{"structured", http.Header{"Content-Type": {"application/cloudevents+json; charset=UTF-8"}}, one, []event.Event{plain}},
		{"structured, as in NATS", http.Header{"content-type": {"application/cloudevents"}}, one, []event.Event{plain}},
		{"JSON is structured", http.Header{"Content-Type": {"application/json"}}, one, []event.Event{plain}},
		{"nothing said is structured", http.Header{}, one, []event.Event{plain}},
		{"structured wins over headers", http.Header{"Content-Type": {"application/cloudevents+json"}, "Ce-Specversion": {"9"}}, one, []event.Event{plain}},
		{"batch", http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, "[" + one + "," + one + "]", []event.Event{plain, plain}},
		{"binary", binary("Content-Type", "application/json"), ` {"a":1}`, typed("application/json", `{"a":1}`)},
		{"binary, text", binary("Content-Type", "text/plain"), "hi\n", typed("text/plain", `"hi\n"`)},
		{"binary, no content", binary(), "", []event.Event{plain}},
		{"binary, names as NATS has them", http.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"s"}, "ce-type": {"t"}}, "", []event.Event{plain}},
		{"binary, content type as attribute", binary("Ce-Datacontenttype", "text/plain"), "hi", typed("text/plain", `"hi"`)},
		{
			"binary, bytes", binary("Content-Type", "image/png"), "\x89PNG",
			[]event.Event{{Version: "1.0", ID: "1", Source: "s", Type: "t", DataContentType: "image/png", Binary: []byte("\x89PNG")}},
		},
		{
			"binary, escapes and quotes", http.Header{
				"Ce-Specversion": {`"1.0"`}, "Ce-Id": {"Euro%20%E2%82%AC%20%F0%9F%98%80"}, "Ce-Source": {`"a \"b\" c"`}, "Ce-Type": {"t"}, "Ce-Subject": {"%22"}, "Ce-Partitionkey": {"k"},
			}, "",
			[]event.Event{{Version: "1.0", ID: "Euro € 😀", Source: `a "b" c`, Type: "t", Subject: `"`, Extensions: map[string]string{"partitionkey": "k"}}},
		},
		{
			"binary, 0.1", http.Header{
				"Ce-Cloudeventsversion": {`"0.1"`}, "Ce-Eventtype": {`"t"`}, "Ce-Eventid": {`"1"`}, "Ce-Source": {`"/s"`}, "Ce-Eventtime": {`"2018-04-05T03:56:24Z"`},
				"Ce-X-Mytopic": {"a"}, "Content-Type": {"application/json; charset=utf-8"},
			}, "[]",
			[]event.Event{{
				Version: "0.1", ID: "1", Source: "/s", Type: "t", Time: time.Date(2018, 4, 5, 3, 56, 24, 0, time.UTC),
				DataContentType: "application/json; charset=utf-8", Extensions: map[string]string{"mytopic": "a"}, Data: json.RawMessage("[]"),
			}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.FromRequest(tt.header, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFromRequestRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		want   string
		media  bool
	}{
		{"a form", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "a=b", "want application/cloudevents+json", true},
		{"XML", http.Header{"Content-Type": {"application/cloudevents+xml"}}, "<event/>", "want application/cloudevents+json", true},
		{"a broken content type", http.Header{"Content-Type": {"json;;"}}, one, "want application/cloudevents+json", true},
		{"another charset", http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-16"}}, one, "want application/cloudevents+json", true},
		{"a batch that is none", http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, one, "a batch is a list", false},
		{"a batch without its name", http.Header{"Content-Type": {"application/json"}}, "[" + one + "]", "a CloudEvent is a JSON object", false},
		{"an unknown version", http.Header{"Ce-Specversion": {"2.0"}}, "", `version "2.0"`, false},
		{"no id", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}}, "", "id: MUST", false},
		{"a bad escape", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"%zz"}}, "", "header ce-id: invalid URL escape", false},
		{"not UTF-8", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"%ff"}}, "", "header ce-id: it is not UTF-8", false},
		{"broken JSON", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}, "Content-Type": {"application/json"}}, "{", "unexpected end", false},
		{
			"data that is nested deeply", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}, "Content-Type": {"application/json"}},
			strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested more than 99 deep", false,
		},
		{"a body without bound", http.Header{"Ce-Specversion": {"1.0"}}, strings.Repeat(" ", event.MaxSize+1), "too large", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := event.FromRequest(tt.header, []byte(tt.body))
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, event.ErrMediaType) != tt.media {
				t.Errorf("%v", err)
			}
			if gapless.KindOf(err) != gapless.KindRejected {
				t.Errorf("%s", gapless.KindOf(err))
			}
		})
	}
}

func FuzzFromRequest(f *testing.F) {
	f.Add("application/cloudevents+json", "", "", []byte(one))
	f.Add("application/cloudevents-batch+json", "", "", []byte("["+one+"]"))
	f.Add("text/plain; charset=utf-8", "1.0", `"a\"%20b"`, []byte("text"))
	f.Add("application/json", "0.1", "1", []byte(`null`))
	f.Add("", "1.0", "1", []byte{0xff})
	f.Fuzz(func(t *testing.T, content, version, id string, body []byte) {
		h := http.Header{"Content-Type": {content}, "Ce-Source": {"s"}}
		switch version {
		case "":
		case "0.1":
			h["Ce-Cloudeventsversion"], h["Ce-Eventid"], h["Ce-Eventtype"], h["Ce-X-"+id] = []string{version}, []string{id}, []string{"t"}, []string{content}
		default:
			h["Ce-Specversion"], h["Ce-Id"], h["Ce-Type"], h["Ce-Time"] = []string{version}, []string{id}, []string{"t"}, []string{content}
		}
		events, err := event.FromRequest(h, body)
		if err != nil && gapless.KindOf(err) != gapless.KindRejected {
			t.Errorf("%s: %v", gapless.KindOf(err), err)
		}
		for _, e := range events {
			roundTrip(t, e)
		}
	})
}
