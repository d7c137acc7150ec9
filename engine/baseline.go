package engine

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/durable"
	"github.com/gapless-sync/gapless/proof"
)

// baselines keeps the fingerprints of every partition in one folder. Of a
// partition there are up to four files:
//
//	.table  fingerprints of what the destination holds at the checkpoint that
//	        the table's label names
//	.next   the table that follows, complete, waiting for its checkpoint
//	.log    what the enumeration under way has pushed so far
//	.doubt  keys that were pushed or deleted since the table was written, by a
//	        run that did not complete: their fingerprints prove nothing
//
// A record pushed but not checkpointed may or may not be at the destination.
// If the source then went back to the old content, comparing with the table
// would call it unchanged; hence the doubt.
//
// The folder is that of one epoch, and is renamed by the next run that may push:
// a runner that has lost its lease without knowing no longer finds it, whatever it
// was about to write.
type baselines struct {
	root   string            // of the connector
	epoch  uint64            // of the last run that could push and that they know of; 0 if there is none
	epochs []uint64          // all of which there were folders
	step   func(name string) // see Engine
}

// maxDoubt bounds the keys in doubt. Above it a full run is the better cure.
const maxDoubt = 1 << 20

func (b baselines) of(partition string) *baseline {
	sum := sha256.Sum256([]byte(partition))
	return &baseline{path: filepath.Join(b.dir(), hex.EncodeToString(sum[:12])), scratchDir: b.root, step: b.step}
}

// baseline is the fingerprints of one partition. It is opened for one run.
type baseline struct {
	path       string
	scratchDir string
	step       func(name string)
	file       *os.File
	table      *delta.Table
	next       *os.File
	log        *os.File
	doubted    [][]byte // keys
	marked     bool     // .doubt is on disk, so the log protects the table
	named      bool     // the log is durable under its name
	scratch    []*os.File
}

func labelOf(c gapless.Checkpoint) []byte {
	return []byte(c.Run + "/" + strconv.FormatUint(c.Seq, 10))
}

// open opens the table if it belongs to checkpoint at, and settles what an
// earlier run left half done. It reports false if there is no such table.
func (b *baseline) open(at gapless.Checkpoint) (bool, error) {
	if at.Run == "" || at.Mark != "" {
		return false, nil
	}
	if err := b.settle(at); err != nil {
		return false, err
	}
	file, table, err := openTable(b.path + ".table")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !bytes.Equal(table.Label(), labelOf(at)) {
		return false, file.Close()
	}
	doubted, ok, err := b.loadDoubt()
	if err != nil {
		return false, errors.Join(err, file.Close())
	}
	if !ok { // for good: what is doubtful is forgotten with the next log
		return false, errors.Join(file.Close(), removeIfThere(b.path+".table"))
	}
	b.file, b.table, b.doubted = file, table, doubted
	return true, nil
}

// settle completes an exchange of tables that was interrupted after the
// destination had the checkpoint.
func (b *baseline) settle(at gapless.Checkpoint) error {
	file, table, err := openTable(b.path + ".next")
	if err != nil {
		return nil //nolint:nilerr // not there, or torn while being written: the old table stands
	}
	same := bytes.Equal(table.Label(), labelOf(at))
	if err := file.Close(); err != nil || !same {
		return err
	}
	return b.exchange()
}

func openTable(path string) (*os.File, *delta.Table, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	table, err := delta.OpenTable(file, info.Size())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open fingerprints %s: %w", filepath.Base(path), err), file.Close())
	}
	return file, table, nil
}

// exchange makes the next table the current one and forgets the doubt.
func (b *baseline) exchange() error {
	b.step("before exchange")
	if err := os.Rename(b.path+".next", b.path+".table"); err != nil {
		return fmt.Errorf("exchange fingerprints: %w", err)
	}
	if err := durable.SyncFolder(filepath.Dir(b.path)); err != nil {
		return err
	}
	b.step("after exchange")
	return errors.Join(removeIfThere(b.path+".doubt"), removeIfThere(b.path+".log"))
}

// held returns how many records the destination is known to hold.
func (b *baseline) held() uint64 {
	if b.table == nil {
		return 0
	}
	return b.table.Len()
}

// start begins an enumeration. It is compared with the table if compare is
// set; otherwise everything goes into the log, so that it can be resumed. Keys
// in doubt stay in doubt until it completes. A table that was not opened goes: it
// is of another destination, which may come back, and would lose the log that says
// what it was given since. A dry enumeration leaves no trace.
func (b *baseline) start(memory int, compare, dry bool) (*delta.Comparison, error) {
	if len(b.doubted) > 0 && !dry {
		if err := b.saveDoubt(nil); err != nil {
			return nil, err
		}
	}
	var base *delta.Table
	if compare {
		base = b.table
	}
	if dry {
		log, err := b.scratchFile()
		if err != nil {
			return nil, err
		}
		return b.doubt(delta.New(base, log, memory)), nil
	}
	if b.file == nil {
		if err := removeIfThere(b.path + ".table"); err != nil {
			return nil, err
		}
	}
	if err := b.newLog(0); err != nil {
		return nil, err
	}
	return b.doubt(delta.New(base, b.log, memory)), nil
}

func (b *baseline) doubt(c *delta.Comparison) *delta.Comparison {
	for _, key := range b.doubted {
		c.Doubt(proof.KeyHash(key))
	}
	return c
}

// seed makes a table of what the destination lists, for want of fingerprints:
// it proves presence, not content, unless list gives versions.
func (b *baseline) seed(memory int, list func(fn func(key, version []byte) error) error) (err error) {
	b.table, err = b.tabulate(memory, func(c *delta.Comparison) error {
		return list(func(key, version []byte) error {
			if len(version) == 0 {
				return c.Keep(key, proof.KeyHash(key), 0)
			}
			_, err := c.Add(key, proof.KeyHash(key), proof.KeyHash(version).Lo, 0)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("list what the destination holds: %w", err)
	}
	return nil
}

// tabulate makes a table, for lookups in this run alone, of what fill adds to
// an enumeration.
func (b *baseline) tabulate(memory int, fill func(*delta.Comparison) error) (*delta.Table, error) {
	log, err := b.scratchFile()
	if err != nil {
		return nil, err
	}
	c := delta.New(nil, log, memory)
	if err := fill(c); err != nil {
		return nil, err
	}
	if err := c.Finish(b.scratchFile); err != nil {
		return nil, fmt.Errorf("sort keys: %w", err)
	}
	return b.scratchTable(c)
}

// scratchTable writes the table of a finished comparison for lookups in this
// run alone.
func (b *baseline) scratchTable(c *delta.Comparison) (*delta.Table, error) {
	file, err := b.scratchFile()
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(file, 256<<10)
	if err := errors.Join(c.WriteTable(w, nil), w.Flush()); err != nil {
		return nil, fmt.Errorf("write scratch table: %w", err)
	}
	info, err := b.scratch[len(b.scratch)-1].Stat()
	if err != nil {
		return nil, fmt.Errorf("stat scratch table: %w", err)
	}
	return delta.OpenTable(file, info.Size())
}

// canResume reports whether the log of an unfinished first enumeration still
// holds the size bytes that count.
func (b *baseline) canResume(size int64) bool {
	info, err := os.Stat(b.path + ".log")
	return err == nil && info.Size() >= size
}

// resume continues an unfinished enumeration whose log counts up to size.
func (b *baseline) resume(size int64, memory int) (*delta.Comparison, error) {
	if err := b.newLog(size); err != nil {
		return nil, err
	}
	return delta.Resume(b.log, size, memory)
}

// newLog makes a log that begins with so many bytes of the one before. That one
// may still be open to a runner that is about to write to it.
func (b *baseline) newLog(size int64) (err error) {
	path := b.path + ".log"
	b.log, err = os.OpenFile(path+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create log of fingerprints: %w", err)
	}
	if size > 0 {
		before, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("open log of fingerprints: %w", err)
		}
		_, err = io.CopyN(b.log, before, size)
		if err := errors.Join(err, before.Close(), b.log.Sync()); err != nil {
			return fmt.Errorf("copy log of fingerprints: %w", err)
		}
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("put log of fingerprints in place: %w", err)
	}
	return nil
}

// protect is called before records are pushed: whatever c has seen reaches the
// log, so that a killed run leaves no record that the table is wrong about.
func (b *baseline) protect(c *delta.Comparison) error {
	if b.file == nil {
		return nil // no table of an earlier run that could be wrong
	}
	if !b.marked {
		if err := b.saveDoubt(nil); err != nil {
			return err
		}
	}
	_, err := c.Flush()
	b.step("after flush of the log")
	return err
}

// forsake is called before records are deleted that c has not seen: no log
// names them, and the table says that the destination has them.
func (b *baseline) forsake(absent func(fn func(key []byte) error) error) error {
	if b.file == nil {
		return nil
	}
	return b.saveDoubt(absent)
}

// syncLog makes durable what was flushed to the log, and that it is the log.
func (b *baseline) syncLog() error {
	if err := b.log.Sync(); err != nil {
		return fmt.Errorf("sync log of fingerprints: %w", err)
	}
	if b.named {
		return nil
	}
	b.named = true
	return durable.SyncFolder(filepath.Dir(b.path))
}

// prepare writes the table that describes the destination once it has
// checkpoint at, and opens it.
func (b *baseline) prepare(c *delta.Comparison, at gapless.Checkpoint) (*delta.Table, error) {
	err := durable.Write(b.path+".next", func(w io.Writer) error { return c.WriteTable(w, labelOf(at)) })
	if err != nil {
		return nil, err
	}
	b.step("after writing the next table")
	file, table, err := openTable(b.path + ".next")
	if err != nil {
		return nil, err
	}
	b.next = file
	return table, nil
}

// scratchFile creates a file for the external sort. It loses its name at once,
// so that a killed run leaves none behind; where an open file has to keep it,
// close removes it.
func (b *baseline) scratchFile() (delta.File, error) {
	f, err := os.CreateTemp(b.scratchDir, ".scratch-*")
	if err != nil {
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	b.scratch = append(b.scratch, f)
	_ = os.Remove(f.Name()) // close tries once more
	return f, nil
}

// close releases files; nothing durable is touched.
func (b *baseline) close() error {
	var errs []error
	for _, f := range b.scratch {
		errs = append(errs, f.Close(), removeIfThere(f.Name()))
	}
	for _, f := range []*os.File{b.file, b.next, b.log} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	*b = baseline{path: b.path, scratchDir: b.scratchDir, step: b.step}
	return errors.Join(errs...)
}

// The doubt file: the boot id on a line, then keys, each behind its length as
// a uvarint. The log beside it names further keys, written without fsync: it
// is complete after a killed process, but not after a power failure, hence the
// boot id.

// saveDoubt stores the keys that were in doubt before, and more unless it is
// nil.
func (b *baseline) saveDoubt(more func(fn func(key []byte) error) error) error {
	b.step("before doubt")
	err := durable.Write(b.path+".doubt", func(w io.Writer) error {
		add := func(key []byte) error {
			_, err := w.Write(append(binary.AppendUvarint(nil, uint64(len(key))), key...))
			return err
		}
		if _, err := w.Write([]byte(bootID() + "\n")); err != nil {
			return err
		}
		for _, key := range b.doubted {
			if err := add(key); err != nil {
				return err
			}
		}
		if more == nil {
			return nil
		}
		return more(add)
	})
	b.marked = b.marked || err == nil
	return err
}

// loadDoubt returns the keys in doubt, or false if they are not all known or
// too many.
func (b *baseline) loadDoubt() ([][]byte, bool, error) {
	text, err := os.ReadFile(b.path + ".doubt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read keys in doubt: %w", err)
	}
	keys, ok := decodeDoubt(text, bootID())
	if !ok || len(keys) > maxDoubt {
		return nil, false, nil
	}
	log, err := os.Open(b.path + ".log")
	if errors.Is(err, fs.ErrNotExist) {
		return keys, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open log of fingerprints: %w", err)
	}
	defer log.Close() // only read
	info, err := log.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("stat log of fingerprints: %w", err)
	}
	err = delta.LogKeys(log, info.Size(), func(key []byte) error {
		keys = append(keys, bytes.Clone(key))
		if len(keys) > maxDoubt {
			return errTooManyDoubts
		}
		return nil
	})
	return keys, err == nil, nil
}

// decodeDoubt reports false if the file is of another boot or torn.
func decodeDoubt(text []byte, boot string) (keys [][]byte, ok bool) {
	written, rest, found := bytes.Cut(text, []byte{'\n'})
	if !found || boot == "" || string(written) != boot {
		return nil, false
	}
	for len(rest) > 0 {
		n, width := binary.Uvarint(rest)
		if width <= 0 || n > uint64(len(rest)-width) {
			return nil, false
		}
		keys = append(keys, rest[width:width+int(n)])
		rest = rest[width+int(n):]
	}
	return keys, true
}

var errTooManyDoubts = errors.New("too many keys in doubt")

// bootID identifies the time since the machine started; empty where it cannot
// be told, which counts as another boot.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(id))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// forget removes all fingerprints of the partition, durably: what they describe
// is no longer what the destination holds.
func (b *baseline) forget() error {
	b.step("before forgetting fingerprints")
	for _, kind := range []string{".table", ".next", ".log", ".doubt"} {
		if err := removeIfThere(b.path + kind); err != nil {
			return err
		}
	}
	return durable.SyncFolder(filepath.Dir(b.path))
}
