package pacifica

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

// TestFilename has the folders that files come into, as the original names them.
func TestFilename(t *testing.T) {
	t.Parallel()
	for filename, folder := range map[string]string{
		"": "data", "run-7": "run-7", "x.tar": "x", "x.tar.gz": "x.gz", ".": ".",
		".tar": "-", "..": "-", "a/b": "-", "/tmp": "-", "a\x00": "-", ".gapless": "-",
	} {
		s := newCartServer(t)
		location := t.TempDir()
		d, err := NewDownloader(location, s.options())
		must(t, err)
		_, err = d.Files(t.Context(), seqOf(s.files()), DownloadOptions{Filename: filename})
		if folder == "-" {
			list, _ := os.ReadDir(location)
			if gapless.ExitCode(err) != gapless.ExitUsage || len(list) > 0 || len(s.requests()) > 0 {
				t.Errorf("%q: %v, %v", filename, err, list)
			}
			continue
		}
		must(t, err)
		check(t, filepath.Join(location, folder), s.paths())
	}
	if _, err := NewDownloader("", CartOptions{}); gapless.ExitCode(err) != gapless.ExitUsage {
		t.Errorf("got %v", err)
	}
}

// TestUnusableLists ends before anything is ordered or written.
func TestUnusableLists(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	d, dir := newDownloader(t, s.options())
	e := goldenEvent(t)
	e.Data = []byte(`{"obj_type": "files"}`)
	if _, err := d.CloudEvent(t.Context(), e, DownloadOptions{}); gapless.ExitCode(err) != 55 || !strings.Contains(err.Error(), "its data is an object") {
		t.Errorf("got %v", err)
	}
	if _, err := d.TransactionInfo(t.Context(), []byte(`{"status": "404 Not Found", "message": "none"}`), DownloadOptions{}); gapless.ExitCode(err) != 55 {
		t.Errorf("got %v", err)
	}
	files := s.files()
	files[0].Algorithm, files[0].Hash = "", ""
	if _, err := d.Files(t.Context(), seqOf(files), DownloadOptions{}); gapless.ExitCode(err) != 55 || !strings.Contains(err.Error(), files[0].Path) {
		t.Errorf("got %v", err)
	}
	if len(s.requests()) > 0 {
		t.Errorf("%d requests were sent", len(s.requests()))
	}
	if _, err := os.Lstat(dir); err == nil {
		check(t, dir, nil)
	}
}

// TestVerifyAndDryRun fetch nothing, and tell what is wrong and what is missing.
func TestVerifyAndDryRun(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	d, dir := newDownloader(t, s.options())
	report, err := d.Files(t.Context(), seqOf(s.files()), DownloadOptions{Job: transfer.Job{DryRun: true}})
	if err != nil || report.Missing != 3 || len(s.requests()) > 0 {
		t.Errorf("%+v, %v, %d requests", report, err, len(s.requests()))
	}
	_, err = d.Files(t.Context(), seqOf(s.files()), DownloadOptions{})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "root.txt"), []byte("the Root\n"), 0o600))
	sent := len(s.requests())
	report, err = d.Files(t.Context(), seqOf(s.files()), DownloadOptions{Job: transfer.Job{VerifyOnly: true}})
	if err == nil || report.Failed != 1 || report.Failures[0].Path != "root.txt" || len(s.requests()) != sent {
		t.Errorf("%+v, %v, %d requests", report, err, len(s.requests())-sent)
	}
}
