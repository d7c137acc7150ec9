package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary be the child that it starts.
func TestMain(m *testing.M) {
	if text := os.Getenv(jobVariable); text != "" {
		os.Exit(work(context.Background(), text, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestEveryCaseMeasuresWhatItSays runs all cases over few records; each fails
// by itself if the run did something else.
func TestEveryCaseMeasuresWhatItSays(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and runs every case")
	}
	t.Parallel()
	var names []string
	for _, c := range cases() {
		names = append(names, c.name)
	}
	report := filepath.Join(t.TempDir(), "report.md")
	profiles := t.TempDir()
	args := []string{"-n", "2000", "-runs", "2", "-dir", t.TempDir(), "-o", report, "-profile", profiles, "-cases", strings.Join(names, ",")}
	var stdout, stderr bytes.Buffer
	if code := command(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d:\n%s", code, stderr.String())
	}
	written, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stdout.String(), string(written)); diff != "" {
		t.Errorf("the file is not what was printed (-printed +file):\n%s", diff)
	}
	for _, c := range cases() {
		if got := strings.Count(stdout.String(), "| "+c.title+" "); got != 1 {
			t.Errorf("%d rows of %s in\n%s", got, c.name, stdout.String())
		}
	}
	if profiles, err := filepath.Glob(filepath.Join(profiles, "copy-*.cpu")); err != nil || len(profiles) != 2 {
		t.Errorf("profiles %v: %v", profiles, err)
	}
}

func TestTheGeneratorIsDeterministic(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	size, changed := 0, 0
	for i := range 1000 {
		first, second := appendRecord(nil, i, 0), appendRecord(nil, i, 1)
		if !bytes.Equal(first, appendRecord(nil, i, 0)) {
			t.Fatalf("record %d differs from itself", i)
		}
		if !bytes.Equal(first, second) {
			changed++
		}
		var record struct{ ID string }
		if err := json.Unmarshal(first, &record); err != nil || record.ID != string(first[keyStart:keyStart+keyLength]) {
			t.Fatalf("%s: %v", first, err)
		}
		keys[record.ID] = true
		size += len(first)
	}
	if len(keys) != 1000 || changed != 10 {
		t.Errorf("%d keys, %d changed; want 1000 and 10", len(keys), changed)
	}
	if mean := size / 1000; mean < 280 || mean > 320 {
		t.Errorf("a record has %d bytes, want about 300", mean)
	}
	want := `{"id":"rec-`
	if got := string(appendRecord(nil, 0, 0)); !strings.HasPrefix(got, want) {
		t.Errorf("%s", got)
	}
}

func TestCheckFailsForMissedTargetsAlone(t *testing.T) {
	t.Parallel()
	sampleOf := func(us float64) sample {
		return sample{done: done{Records: 1000, Peak: 30 << 20}, cpu: time.Duration(us * 1000 * 1000)}
	}
	for _, test := range []struct {
		name            string
		bare, bareAgain float64
		copied          float64
		missed          int
		verdict         string
	}{
		{"below the limit", 0.3, 0.3, 0.8, 0, "pass"},
		{"above it", 0.3, 0.3, 1.0, 1, "FAIL"},
		{"a slower machine", 0.68, 0.68, 1.7, 0, "pass"},
		{"too slow for it", 0.68, 0.68, 1.9, 1, "FAIL"},
		{"less than the noise above it", 0.3, 0.33, 0.95, 0, "within the noise"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{options: options{runs: 1}, results: map[string][]round{
				"copy": {{sampleOf(test.bare), sampleOf(test.copied), sampleOf(test.bareAgain)}},
			}}
			text, missed := b.check()
			if missed != test.missed || !strings.Contains(text, test.verdict) {
				t.Errorf("%d missed, want %d and %q:\n%s", missed, test.missed, test.verdict, text)
			}
			if !strings.Contains(text, "not measured") {
				t.Errorf("targets of cases that were left out:\n%s", text)
			}
		})
	}
}

func TestWrongUsageIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-n", "0"}, {"-runs", "0"}, {"-cases", "nonsense"}, {"extra"}, {"-unknown"}} {
		var stdout, stderr bytes.Buffer
		if code := command(t.Context(), args, &stdout, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: exit %d, %q", args, code, stderr.String())
		}
	}
}

func TestAChildThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	b := &bench{}
	for _, test := range []struct {
		name string
		job  job
		want string
	}{
		{"unknown", job{Do: "nothing"}, "there is no such job"},
		{"no input", job{Do: "bare", Input: filepath.Join(t.TempDir(), "none"), Dir: t.TempDir()}, "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := b.child(t.Context(), test.job); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
