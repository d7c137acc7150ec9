package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// jobVariable is the environment variable that makes this program a child that
// does one job and ends.
const jobVariable = "GAPLESS_BENCH_JOB"

// job is what one process is measured doing.
type job struct {
	// Do names the work, as listed by works.
	Do string `json:"do"`
	// Input is the file or folder to read.
	Input string `json:"input"`
	// Dir is where the work leaves what it writes: state, store, output.
	Dir string `json:"dir"`
	// Records that there are, and how many of them differ from what the
	// destination holds already.
	Records int `json:"records"`
	Changed int `json:"changed"`
	// Profile, if set, is where profiles go, without ending.
	Profile string `json:"profile,omitempty"`
}

// done is what a child says when it ends.
type done struct {
	// Records and Bytes that were dealt with.
	Records int   `json:"records"`
	Bytes   int64 `json:"bytes"`
	// Peak of resident memory in bytes, and the program's own file within it,
	// which the system can drop and processes share; 0 if not known.
	Peak    int64 `json:"peak"`
	Program int64 `json:"program"`
}

// works lists what a child can do.
func works() map[string]func(context.Context, job) (done, error) {
	return map[string]func(context.Context, job) (done, error){
		"bare":       bareLoop,
		"bare-files": bareFiles,
		"read":       readAlone,
		"copy":       copyRecords,
		"map":        mapRecords,
		"pebble":     pebbleAlone,
		"hub":        fillHub,
		"files":      filesToHub,
		"compare":    compareWithHub,
		"again":      filesAgain,
		"plan":       decide,
	}
}

// work does the job that text describes and returns an exit code.
func work(ctx context.Context, text string, stdout, stderr io.Writer) int {
	var j job
	err := json.Unmarshal([]byte(text), &j)
	do := works()[j.Do]
	if err == nil && do == nil {
		err = errors.New("there is no such job")
	}
	if err == nil {
		err = perform(ctx, j, do, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", j.Do, err)
		return 1
	}
	return 0
}

func perform(ctx context.Context, j job, do func(context.Context, job) (done, error), stdout io.Writer) error {
	stop, err := startProfile(j.Profile)
	if err != nil {
		return err
	}
	d, err := do(ctx, j)
	d.Peak, d.Program = residentMemory()
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(d)
}

// startProfile profiles the process until stop is called; with an empty path
// it does nothing.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(path + ".heap")
		if err != nil {
			return errors.Join(err, f.Close())
		}
		runtime.GC() // what is left is what was needed
		return errors.Join(f.Close(), pprof.WriteHeapProfile(heap), heap.Close())
	}, nil
}

// output is the path of the file that a job writes.
func (j job) output() string { return filepath.Join(j.Dir, "out.jsonl") }
