package transfer

import (
	"fmt"
	"os"
	"time"

	"github.com/gapless-sync/gapless"
)

// finished is a file whose content is right.
type finished struct {
	File
	// part is what it is called while it is not under its name; "" if it is.
	part string
	// modified is what the file system says.
	modified time.Time
	// durable is whether its content is.
	durable bool
	// validated is whether a validator is kept beside the part.
	validated bool
}

const (
	// maxCommit is how many files become durable in one step.
	maxCommit = 2048
	// commitWindow is how long a step waits for more of them.
	commitWindow = 20 * time.Millisecond
)

// committer gives finished files their names: it makes the contents of many
// durable at once, and only then moves them and writes them into the journal.
type committer struct {
	in      chan finished
	placer  *placer
	journal *journal
	tally   *tally
	// names is the folder of parts, open since before anything was written.
	names *os.File
	// stop ends the run; nothing is committed after that.
	stop func(error)
}

// run commits until the channel is closed, and makes names and journal durable
// in the end.
func (c *committer) run() {
	var batch []finished
	failed := false
	for first := range c.in {
		if failed {
			continue
		}
		batch = c.gather(append(batch[:0], first))
		if err := c.commit(batch); err != nil {
			c.stop(err)
			failed = true
		}
	}
	if failed {
		return
	}
	err := c.placer.sync()
	if err == nil {
		err = c.journal.sync()
	}
	if err != nil {
		c.stop(err)
	}
}

// gather waits a little for what can be made durable together.
func (c *committer) gather(batch []finished) []finished {
	window := time.NewTimer(commitWindow)
	defer window.Stop()
	for len(batch) < maxCommit {
		select {
		case next, more := <-c.in:
			if !more {
				return batch
			}
			batch = append(batch, next)
		case <-window.C:
			return batch
		}
	}
	return batch
}

// commit returns an error if nothing more can be committed.
func (c *committer) commit(batch []finished) error {
	if err := c.makeDurable(batch); err != nil {
		return err
	}
	var lines []byte
	placed := batch[:0]
	for _, f := range batch {
		err := c.place(f)
		if err == nil {
			lines, err = appendLine(lines, File{Path: f.Path, Size: f.Size, Algorithm: f.Algorithm, Hash: f.Hash, Modified: f.modified})
		}
		switch {
		case err != nil && ofWhole(err):
			return c.placer.folder.problem("move a file to its name", err)
		case err != nil:
			c.tally.verdict(EventFailed, f.File, gapless.Recoverable(fmt.Errorf("give the file its name: %w", err)))
		default:
			placed = append(placed, f)
		}
	}
	if len(c.placer.touched) >= maxFolders {
		if err := c.placer.sync(); err != nil {
			return err
		}
	}
	if err := c.journal.append(lines); err != nil {
		return c.placer.folder.problem("remember what was verified", err)
	}
	for _, f := range placed {
		kind := EventFetched
		if f.part == "" {
			kind = EventPresent
		}
		c.tally.verdict(kind, f.File, nil)
	}
	return nil
}

func (c *committer) place(f finished) error {
	if f.part == "" {
		return nil
	}
	if f.validated {
		if err := c.placer.folder.dropValidator(f.part); err != nil {
			return err
		}
	}
	return c.placer.place(f.part, f.Path)
}

// fewFiles are made durable one by one, not with all of the file system.
const fewFiles = 8

// makeDurable syncs the contents of files.
func (c *committer) makeDurable(batch []finished) error {
	var loose, single []finished
	for _, f := range batch {
		switch {
		case f.durable:
		case f.part != "":
			loose = append(loose, f)
		default:
			single = append(single, f)
		}
	}
	if len(loose) > fewFiles {
		done, err := syncSystem(c.names)
		if err != nil {
			return c.placer.folder.problem("make files durable", err)
		}
		if done {
			loose = nil
		}
	}
	return inParallel(append(single, loose...), c.syncOne)
}

func (c *committer) syncOne(f finished) error {
	root, name := c.placer.folder.parts, f.part
	if name == "" {
		root, name = c.placer.folder.root, f.Path
	}
	file, err := root.OpenFile(name, syncFlag, 0)
	if err == nil {
		err = file.Sync()
		if closed := file.Close(); err == nil {
			err = closed
		}
	}
	if err != nil {
		return c.placer.folder.problem("make a file durable", err)
	}
	return nil
}
