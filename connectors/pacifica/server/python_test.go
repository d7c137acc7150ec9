package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
)

// event is one of an ingest, in the form that is in the field.
const event = `{
  "cloudEventsVersion": "0.1", "eventType": "org.pacifica.metadata.ingest",
  "source": "http://metadata.pacifica.org/transactions?_id=67", "eventID": "metadata.ingest.67",
  "eventTime": "2020-05-15T13:05:10", "extensions": {}, "contentType": "application/json",
  "data": [
    {"destinationTable": "Transactions._id", "value": 67},
    {"destinationTable": "Transactions.project", "value": "1236\u00e9"},
    {"destinationTable": "Files", "_id": 1100, "name": "root.txt", "subdir": "", "size": 24,
     "hashtype": "sha1", "hashsum": "ROOT", "mimetype": "text/plain"},
    {"destinationTable": "Files", "_id": 1102, "name": "bar\u00e9.txt", "subdir": "a/b/\u00e9/", "size": 3,
     "hashtype": "sha1", "hashsum": "BAR", "mimetype": "text/plain"},
    {"destinationTable": "Files", "_id": 7, "name": "empty", "subdir": "a", "size": 0,
     "hashtype": "md5", "hashsum": "d41d8cd98f00b204e9800998ecf8427e", "mimetype": "text/plain"},
    {"destinationTable": "Files", "_id": 8, "name": "LONG", "subdir": "deep", "size": 3,
     "hashtype": "sha1", "hashsum": "BAR", "mimetype": "text/plain"}
  ]
}`

var long = strings.Repeat("long ", 50)

// job returns what the script is to do with the event.
func job(t *testing.T, f *fixture, filename string) map[string]any {
	t.Helper()
	f.write(t, archived(1100), "the content of root.txt\n")
	f.write(t, archived(1102), "bar")
	f.write(t, "7", "")
	f.write(t, "file.8", "bar")
	text := strings.NewReplacer("ROOT", sha1Of("the content of root.txt\n"), "BAR", sha1Of("bar"), "LONG", long).Replace(event)
	return map[string]any{
		"url": strings.TrimSuffix(f.address, "/"), "location": t.TempDir(), "filename": filename,
		"event": json.RawMessage(text), "keywords": map[string]any{},
	}
}

// pythons returns every interpreter that has the library of the original.
func pythons(t *testing.T) (list []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		version, err := exec.CommandContext(t.Context(), path, "-c", "import requests, urllib3, sys; print(requests.__version__, urllib3.__version__, sys.version)").Output()
		if err == nil && !seen[string(version)] {
			seen[string(version)] = true
			t.Logf("%s: %s", path, version)
			list = append(list, path)
		}
	}
	if len(list) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("the original's way of downloading is part of the proof: python3 with requests is needed")
		}
		t.Skip("no python3 with requests")
	}
	return list
}

// python runs the script, and returns what it prints.
func python(t *testing.T, interpreter string, job map[string]any) string {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), interpreter, "testdata/client.py")
	cmd.Stdin = strings.NewReader(string(text))
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*", "PYTHONWARNINGS=ignore")
	out, err := cmd.CombinedOutput()
	if printed := strings.TrimSpace(string(out)); (err == nil) == (printed == "ok") {
		return printed
	}
	t.Fatalf("%v\n%s", err, out)
	return ""
}

func TestPythonClient(t *testing.T) {
	t.Parallel()
	interpreters := pythons(t)
	for i, tt := range []struct{ name, filename, folder string }{
		{"as it is called by default", "data", "data"},
		{"as it is called by default", "data", "data"},
		{"with an ending", "my.tar", "my"},
		{"with a space", "my data", "my data"},
		{"below a folder", "x/y", "x/y"},
		{"without a folder", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, server.Options{Admit: func(r *http.Request) (string, bool) {
				user, password, ok := r.BasicAuth()
				return user, ok && password == "secret"
			}})
			j := job(t, f, tt.filename)
			j["keywords"] = map[string]any{"auth": []string{"reader", "secret"}}
			if printed := python(t, interpreters[i%len(interpreters)], j); printed != "ok" {
				t.Fatal(printed)
			}
			location, _ := j["location"].(string)
			want := map[string]string{"root.txt": "the content of root.txt\n", "a/b/é/baré.txt": "bar", "a/empty": "", "deep/" + long: "bar"}
			if diff := cmp.Diff(want, tree(t, filepath.Join(location, tt.folder))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			info, err := os.Stat(filepath.Join(location, tt.folder, "root.txt"))
			if err != nil || !info.ModTime().Equal(noon) {
				t.Errorf("the file has the time %v (%v)", info.ModTime(), err)
			}
		})
	}
}

// TestPythonFails covers what the original must not take for success.
func TestPythonFails(t *testing.T) {
	t.Parallel()
	interpreters := pythons(t)
	for i, tt := range []struct {
		name   string
		change func(t *testing.T, f *fixture, j map[string]any)
		want   string
	}{
		{"a hash that is wrong", func(t *testing.T, f *fixture, _ map[string]any) { f.write(t, "7", "not empty") }, "AssertionError: HEAD 500 error file 7 (a/empty): File hash does not match"},
		{"a file that is missing", func(t *testing.T, f *fixture, _ map[string]any) {
			if err := os.Remove(filepath.Join(f.root, "7")); err != nil {
				t.Fatal(err)
			}
		}, "AssertionError: HEAD 500 error file 7 (a/empty): there is no such file"},
		{"an event without files", func(_ *testing.T, _ *fixture, j map[string]any) {
			j["event"] = json.RawMessage(`{"data": []}`)
		}, "AssertionError: POST 400"},
		{"a file without a hash", func(_ *testing.T, _ *fixture, j map[string]any) {
			j["event"] = json.RawMessage(`{"data": [{"destinationTable": "Files", "_id": 7, "name": "x", "hashtype": "md5"}]}`)
		}, "AssertionError: POST 400"},
		{"a path that leads out", func(_ *testing.T, _ *fixture, j map[string]any) {
			j["event"] = json.RawMessage(`{"data": [{"destinationTable": "Files", "_id": 7, "name": "x", "subdir": "..", "hashtype": "md5", "hashsum": "d41d8cd98f00b204e9800998ecf8427e"}]}`)
		}, "AssertionError: POST 400"},
		{"a folder that leads out", func(_ *testing.T, _ *fixture, j map[string]any) { j["filename"] = "../x" }, "ReadError"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, server.Options{})
			j := job(t, f, "data")
			tt.change(t, f, j)
			if printed := python(t, interpreters[i%len(interpreters)], j); !strings.HasPrefix(printed, tt.want) {
				t.Errorf("%s, want %s", printed, tt.want)
			}
			location, _ := j["location"].(string)
			if got := tree(t, location); len(got) > 0 {
				t.Errorf("there are files: %v", got)
			}
		})
	}
}
