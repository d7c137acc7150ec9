package server_test

import (
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/pacifica"
	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/transfer"
)

// TestOurClient downloads with several carts at a time; one file cannot be read
// to its end when it is sent for the first time.
func TestOurClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder, err := server.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	var opened atomic.Int32
	files := &turncoat{Files: folder, id: "17"}
	files.turned.Store(true)
	files.with = func(c server.Content) (server.Content, error) {
		if opened.Add(1) == 2 { // the first is the verification
			c.Body = &cut{c.Body, 300_000}
		}
		return c, nil
	}
	f := serve(t, server.Options{Files: files})
	f.root = dir
	want := map[string]string{}
	var list []transfer.File
	for i := range 40 {
		content := strings.Repeat(fmt.Sprint(i), i*10_000)
		f.write(t, fmt.Sprint(i), content)
		path := fmt.Sprintf("d%d/f%d", i%3, i)
		want["data/"+path] = content
		list = append(list, transfer.File{Path: path, Size: int64(len(content)), Algorithm: "sha1", Hash: sha1Of(content), Origin: fmt.Sprint(i)})
	}
	var all iter.Seq2[transfer.File, error] = func(yield func(transfer.File, error) bool) {
		for _, file := range list {
			if !yield(file, nil) {
				return
			}
		}
	}
	location := t.TempDir()
	d, err := pacifica.NewDownloader(location, pacifica.CartOptions{URL: f.address})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	report, err := d.Files(t.Context(), all, pacifica.DownloadOptions{Job: transfer.Job{Group: 10, Streams: 4}})
	if err != nil || report.Fetched != int64(len(list)) || report.Failed != 0 {
		t.Fatalf("%+v %v", report, err)
	}
	got := tree(t, location)
	for name := range got {
		if strings.Contains(name, ".gapless"+string(filepath.Separator)) || strings.Contains(name, ".gapless/") {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if opened.Load() < 3 {
		t.Error("the file was never cut")
	}
	if _, text := f.do(t, "GET", "", ""); strings.Contains(text, `"uid"`) {
		t.Errorf("carts are left: %s", text)
	}
}
