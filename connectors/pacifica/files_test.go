package pacifica

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/gapless-sync/gapless/transfer"
)

// TestListsOfTheOriginal has an event and a transaction as the original servers
// write them: they name the same files.
func TestListsOfTheOriginal(t *testing.T) {
	t.Parallel()
	modified := time.Date(2016, 11, 29, 22, 9, 5, 0, time.UTC)
	want := []transfer.File{
		{Path: "root.txt", Size: 24, Algorithm: "sha1", Hash: "276dc905a2e9a9ba0fb234478c7fc9721627ab09", Modified: modified, Origin: "1100"},
		{Path: "a/b/foo.bin", Size: 1280, Algorithm: "sha1", Hash: "e37a04cb2353309f5cff4ee036cfb91a5e31cefd", Origin: "1101"},
		{Path: "a/b/\u00e9/bar\u00e9.txt", Size: 0, Algorithm: "sha1", Hash: "da39a3ee5e6b4b0d3255bfef95601890afd80709", Modified: modified, Origin: "1102"},
		{Path: "a/" + strings.Repeat("n", 110) + "/deep.txt", Size: 5, Algorithm: "sha1", Hash: "698a7985db24f12a6425f6ed97a6ef5df053f3fb", Modified: modified, Origin: "1103"},
	}
	got, err := collect(FilesOfEvent(goldenEvent(t)))
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	doc, err := os.ReadFile("testdata/transaction.json")
	must(t, err)
	got, err = collect(FilesOfTransaction(doc))
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transaction (-want +got):\n%s", diff)
	}
	files, _, err := filesMember(doc)
	must(t, err)
	got, err = collect(FilesOfTransaction(files))
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bare map (-want +got):\n%s", diff)
	}
}

func collect(seq func(func(transfer.File, error) bool)) (list []transfer.File, err error) {
	for f, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, f)
	}
	return list, nil
}

// TestEventData has the data of events that can be used, and that cannot.
func TestEventData(t *testing.T) {
	t.Parallel()
	const hash = `"hashtype": "sha1", "hashsum": "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"`
	file := func(members string) string { return `[{"destinationTable": "Files", ` + members + `}]` }
	tests := []struct {
		name, data string
		path       string // of the one file, or
		says       string // of the error
	}{
		{"plain", file(`"_id": 1, "name": "n", "subdir": "a/b", ` + hash), "a/b/n", ""},
		{"id as text", file(`"_id": "x-1", "name": "n", "subdir": "", ` + hash), "n", ""},
		{"slashes", file(`"_id": 1, "name": "n", "subdir": "//a//b/", ` + hash), "a/b/n", ""},
		{"no subdir", file(`"_id": 1, "name": "n", ` + hash), "n", ""},
		{"subdir null", file(`"_id": 1, "name": "n", "subdir": null, ` + hash), "n", ""},
		{"no hash", file(`"_id": 1, "name": "n"`), "n", ""},
		{"hash null", file(`"_id": 1, "name": "n", "hashsum": null, "hashtype": "sha1"`), "n", ""},
		{"size null", file(`"_id": 1, "name": "n", "size": null, ` + hash), "n", ""},
		{"other tables", `[{"destinationTable": "FileKeyValue", "key": "x"}, {"destinationTable": 7}, ` + file(`"_id": 1, "name": "n", ` + hash)[1:], "n", ""},

		{"no data", ``, "", "its data is missing, not a list"},
		{"null", `null`, "", "its data is null"},
		{"object", `{"obj_type": "files"}`, "", "its data is an object, not a list"},
		{"empty", `[]`, "", "names no files"},
		{"no files", `[{"destinationTable": "Transactions._id", "value": 67}]`, "", "names no files"},
		{"element is a text", `["Files"]`, "", "a text, not an object"},
		{"no id", file(`"name": "n", ` + hash), "", "no _id"},
		{"id false", file(`"_id": false, "name": "n", ` + hash), "", "no _id"},
		{"id with a slash", file(`"_id": "1/2", "name": "n", ` + hash), "", "never finished"},
		{"id with a line feed", file(`"_id": "1\n2", "name": "n", ` + hash), "", "no archive has"},
		{"id is a fraction", file(`"_id": 1.5, "name": "n", ` + hash), "", "_id"},
		{"no name", file(`"_id": 1, ` + hash), "", "no name"},
		{"name is a list", file(`"_id": 1, "name": [], ` + hash), "", "name"},
		{"name of a folder", file(`"_id": 1, "name": "n/", ` + hash), "", "n/"},
		{"above", file(`"_id": 1, "name": "n", "subdir": "../..", ` + hash), "", ".."},
		{"above in the name", file(`"_id": 1, "name": "../n", "subdir": "a", ` + hash), "", ".."},
		{"NUL", file(`"_id": 1, "name": "n\u0000", ` + hash), "", "system"},
		{"too long", file(`"_id": 1, "subdir": "` + strings.Repeat("x/", 2048) + `", "name": "n", ` + hash), "", "longer than"},
		{"unknown algorithm", file(`"_id": 1, "name": "n", "hashtype": "crc99", "hashsum": "00"`), "", "crc99"},
		{"no algorithm", file(`"_id": 1, "name": "n", "hashsum": "da39a3ee5e6b4b0d3255bfef95601890afd80709"`), "", "algorithm"},
		{"hash too short", file(`"_id": 1, "name": "n", "hashtype": "sha1", "hashsum": "da39"`), "", "hexadecimal"},
		{"negative size", file(`"_id": 1, "name": "n", "size": -5, ` + hash), "", "size"},
		{"not UTF-8", file(`"_id": 1, "name": "` + "\xff" + `", ` + hash), "", "UTF-8"},
		{"cut", `[{"destinationTable": "Files", "_id": 1, "name": "n"}`, "", "no JSON"},
		{"more behind", file(`"_id": 1, "name": "n", `+hash) + `[]`, "", "behind its end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list, err := collect(FilesOfEvent(event.Event{ID: "i-1", Type: "org.example", Data: []byte(tt.data)}))
			if tt.says != "" {
				e, ok := errors.AsType[*gapless.Error](err)
				if !ok || e.Code != gapless.CodeFileList || gapless.ExitCode(err) != 55 || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), `event "i-1" of type "org.example"`) {
					t.Errorf("got %v, %v", list, err)
				}
				return
			}
			must(t, err)
			if len(list) != 1 || list[0].Path != tt.path || list[0].Hash != strings.ToLower(list[0].Hash) {
				t.Errorf("got %+v", list)
			}
		})
	}
}

// TestTransactionDocuments has what policy servers answer.
func TestTransactionDocuments(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, doc, says string
		missing         bool
	}{
		{"not found", `{"status": "404 Not Found", "message": "No Transaction with ID 68", "traceback": ""}`, "No Transaction with ID 68", true},
		{"failed", `{"status": "500 Internal Server Error", "message": "broken"}`, "broken", false},
		{"no files", `{"_id": 67, "files": {}}`, "transaction 67: it names no files", false},
		{"nothing", `{}`, "names no files", false},
		{"files is null", `{"_id": 67, "files": null}`, "its files are null", false},
		{"files is a list", `{"_id": 67, "files": []}`, "its files are a list", false},
		{"no member files", `{"_id": 67, "project": "x"}`, "no member files", false},
		{"a list", `[]`, "a list, not an object", false},
		{"not JSON", `<html>`, "not an object", false},
		{"cut", `{"files": {"1": {"name": "n"}`, "no JSON", false},
		{"a file is a number", `{"files": {"1": 7}}`, "not an object", false},
	}
	for _, tt := range tests {
		_, err := collect(FilesOfTransaction([]byte(tt.doc)))
		if gapless.ExitCode(err) != 55 || !strings.Contains(fmt.Sprint(err), tt.says) || errors.Is(err, gapless.ErrNotFound) != tt.missing {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzFilesOfEvent(f *testing.F) {
	f.Add([]byte(`[{"destinationTable": "Files", "_id": 1, "name": "n", "subdir": "a", "size": 1, "mtime": "2016-11-29T22:09:05"}]`))
	f.Add([]byte(`{"obj_type": "files"}`))
	f.Add([]byte(`[1,`))
	f.Fuzz(func(t *testing.T, data []byte) {
		safe(t, FilesOfEvent(event.Event{ID: "i", Type: "t", Data: data}))
	})
}

func FuzzFilesOfTransaction(f *testing.F) {
	f.Add([]byte(`{"files": {"1": {"name": "n", "hashtype": "md5", "hashsum": "d41d8cd98f00b204e9800998ecf8427e"}}}`))
	f.Add([]byte(`{"1": {"name": "../n"}}`))
	f.Add([]byte(`{"status": "404", "message": ""}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		safe(t, FilesOfTransaction(doc))
	})
}

// safe checks that a list has only files that can be ordered, one at least, or
// ends with an error.
func safe(t *testing.T, seq func(func(transfer.File, error) bool)) {
	list, err := collect(seq)
	if err == nil && len(list) == 0 {
		t.Error("neither a file nor an error")
	}
	for _, f := range list {
		checked, err := checkOrdered(f)
		if err != nil || checked != f {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
