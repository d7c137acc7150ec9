package main

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestRunTellsHowTestsEnded: a mutant is noticed by a test that fails or a
// program that crashes, and by nothing else that ends a process.
func TestRunTellsHowTestsEnded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string // no outcome if it cannot be told
	}{
		{"passes", survived},
		{"fails", noticed},
		{"panics", noticed},
		{"exits", ""},
		{"is killed", ""},
		{"does not end", late},
		{"leaves a child", late},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := judge{dir: t.TempDir(), limit: time.Minute, grace: time.Second}
			if tt.want == late {
				j.limit = 100 * time.Millisecond
			}
			started := time.Now()
			r, err := j.run(t.Context(), program{binary: os.Args[0], folder: t.TempDir()}, mutant{Tests: []string{"TestChild"}}, tt.name)
			if (err == nil) != (tt.want != "") || r.outcome != tt.want {
				t.Errorf("%q, want %q: %v\n%s", r.outcome, tt.want, err, r.text)
			}
			if took := time.Since(started); took > time.Minute {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestChild is what a process of TestRunTellsHowTestsEnded does.
func TestChild(t *testing.T) {
	t.Parallel()
	switch os.Getenv(activeVariable) {
	case "fails":
		t.Error("as asked")
	case "panics":
		done := make(chan struct{})
		go func() { defer close(done); panic("as asked") }()
		<-done
	case "exits":
		os.Exit(1)
	case "is killed":
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		t.Log(err)
		<-t.Context().Done()
	case "does not end":
		<-t.Context().Done()
	case "leaves a child":
		child := exec.CommandContext(context.Background(), os.Args[0], "-test.run", "^TestChild$", "-test.timeout", "2m")
		child.Env = append(os.Environ(), activeVariable+"=does not end")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		<-t.Context().Done()
	}
}
