package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// sample is one process that was measured.
type sample struct {
	done
	wall, cpu time.Duration
}

// perRecord is the processor time of one record in microseconds.
func (s sample) perRecord() float64 { return float64(s.cpu.Nanoseconds()) / 1e3 / float64(s.Records) }

// round is one measurement of a case between two of its bare loop, which are
// zero if it has none.
type round struct{ before, measured, after sample }

func (r round) hasBare() bool { return r.before.Records > 0 }

// ratio is the processor time per record to that of the bare loop.
func (r round) ratio() float64 {
	return 2 * r.measured.perRecord() / (r.before.perRecord() + r.after.perRecord())
}

// control is the ratio of the bare loop to itself.
func (r round) control() float64 { return r.after.perRecord() / r.before.perRecord() }

// bench measures cases.
type bench struct {
	options options
	dir     string
	log     io.Writer
	results map[string][]round // by case
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// measure measures every case once, then all of them again, so that a busy
// minute of the machine falls upon all alike.
func (b *bench) measure(ctx context.Context, chosen []benchCase) error {
	for _, c := range chosen {
		if err := b.prepare(ctx, c); err != nil {
			return fmt.Errorf("prepare %s: %w", c.name, err)
		}
	}
	for run := 1; run <= b.options.runs; run++ {
		for _, c := range chosen {
			r, err := b.round(ctx, c, run)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			b.results[c.name] = append(b.results[c.name], r)
			fmt.Fprintf(b.log, "%d/%d %-10s %8.3f s %10.3f us CPU per record %6d MiB\n", run, b.options.runs, c.name,
				r.measured.wall.Seconds(), r.measured.perRecord(), r.measured.Peak>>20)
		}
	}
	return nil
}

// prepare makes what a case reads and what it finds already done. What that
// leaves to be tidied up is done by one run more, so that no measurement pays
// for it.
func (b *bench) prepare(ctx context.Context, c benchCase) error {
	if c.input != nil {
		if _, err := c.input(b, -1); err != nil {
			return err
		}
	}
	if c.before == "" {
		return nil
	}
	j, err := b.job(c, -1)
	if err != nil {
		return err
	}
	j.Do = c.before
	if _, err := b.child(ctx, j); err != nil {
		return err
	}
	_, err = b.once(ctx, c, 0)
	return err
}

func (b *bench) round(ctx context.Context, c benchCase, run int) (r round, err error) {
	if r.before, err = b.bare(ctx, c); err != nil {
		return r, err
	}
	if c.measure != nil {
		r.measured, err = c.measure(ctx, b)
	} else {
		r.measured, err = b.once(ctx, c, run)
	}
	if err != nil {
		return r, err
	}
	r.after, err = b.bare(ctx, c)
	return r, err
}

// bare measures the bare loop of a case; nothing if it has none.
func (b *bench) bare(ctx context.Context, c benchCase) (sample, error) {
	if c.bare == "" {
		return sample{}, nil
	}
	c.do, c.before = c.bare, ""
	return b.once(ctx, c, -1)
}

func (b *bench) once(ctx context.Context, c benchCase, run int) (s sample, err error) {
	j, err := b.job(c, run)
	if err != nil {
		return s, err
	}
	if c.before == "" {
		defer func() { err = errors.Join(err, os.RemoveAll(j.Dir)) }()
	}
	if b.options.profile != "" && run > 0 {
		j.Profile = filepath.Join(b.options.profile, fmt.Sprintf("%s-%d", c.name, run))
	}
	return b.child(ctx, j)
}

// job describes the work of a case, in a folder that is there.
func (b *bench) job(c benchCase, run int) (j job, err error) {
	j = job{Do: c.do, Dir: b.path("scratch"), Records: b.options.records}
	if c.before != "" {
		j.Dir = b.path("kept-" + c.name)
	}
	if c.records != nil {
		j.Records = c.records(j.Records)
	}
	if c.changed != nil {
		j.Changed = c.changed(j.Records)
	}
	if c.input != nil {
		if j.Input, err = c.input(b, run); err != nil {
			return j, err
		}
	}
	return j, os.MkdirAll(j.Dir, 0o700)
}

// child does a job in a process of its own.
func (b *bench) child(ctx context.Context, j job) (s sample, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return s, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	answer, err := s.time(cmd)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(answer, &s.done); err != nil {
		return s, fmt.Errorf("answer of %s: %w", j.Do, err)
	}
	if s.Records == 0 {
		return s, fmt.Errorf("%s did nothing", j.Do)
	}
	return s, nil
}

// time runs a command to its end and adds up what it took.
func (s *sample) time(cmd *exec.Cmd) (stdout []byte, err error) {
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	started := time.Now()
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(problems.Bytes()))
	}
	s.wall += time.Since(started)
	s.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return out.Bytes(), nil
}

// startVersion measures the program itself, from its start to its end.
func startVersion(ctx context.Context, b *bench) (s sample, err error) {
	program := b.path("gapless")
	if _, err := os.Stat(program); err != nil {
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/gapless-sync/gapless/cmd/gapless")
		if text, err := build.CombinedOutput(); err != nil {
			return s, fmt.Errorf("build gapless: %w: %s", err, bytes.TrimSpace(text))
		}
	}
	s.Records = starts
	for range starts {
		if _, err := s.time(exec.CommandContext(ctx, program, "version")); err != nil {
			return s, err
		}
	}
	return s, nil
}
