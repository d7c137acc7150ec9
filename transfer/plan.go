package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"strings"
	"unicode"

	"github.com/gapless-sync/gapless"
)

// plan is the wanted files in the order of their list, on disk, and which of
// them need nothing more.
type plan struct {
	lines    *os.File
	out      *bufio.Writer
	at       int64
	count    uint32
	bytes    int64
	mentions mentions

	again   bits // say the same as a file before them
	doubles int64
	present bits
	// absent is how many bytes are wanted of those that are not present.
	absent int64
}

// makePlan reads and checks the whole list.
func makePlan(ctx context.Context, files iter.Seq2[File, error], unverified bool) (*plan, error) {
	lines, err := temporary()
	if err != nil {
		return nil, err
	}
	p := &plan{lines: lines, out: bufio.NewWriterSize(lines, 64<<10)}
	for f, err := range files {
		if err == nil {
			err = p.add(f, unverified)
		}
		if err == nil && p.count%1024 == 0 {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	if err := p.out.Flush(); err != nil {
		return nil, errors.Join(listProblem(err), p.close())
	}
	p.absent = p.bytes
	return p, nil
}

func (p *plan) add(f File, unverified bool) error {
	f, err := f.Check()
	switch {
	case err != nil:
		return gapless.Errorf(gapless.CodeFileList, "", "%w", err)
	case f.Hash == "" && !unverified:
		return gapless.Errorf(gapless.CodeFileList, "", "%q has no hash, so that nothing can tell whether it is right", f.Path).
			WithHint("list it with a hash, or allow files that are not verified")
	case p.count == math.MaxUint32:
		return gapless.Errorf(gapless.CodeFileList, "", "more than %d files", p.count)
	}
	text, err := appendLine(nil, f)
	if err != nil {
		return gapless.Errorf(gapless.CodeFileList, "", "%w", err)
	}
	if _, err := p.out.Write(text); err != nil {
		return listProblem(err)
	}
	p.at += int64(len(text))
	p.count++
	p.bytes += max(f.Size, 0)
	return nil
}

func (p *plan) close() error {
	return errors.Join(discard(p.lines), p.mentions.close())
}

// line returns the file that a mention is of.
func (p *plan) line(m mention) (File, error) { return readLine(p.lines, m) }

func readLine(r io.ReaderAt, m mention) (File, error) {
	text := make([]byte, m.length)
	if _, err := r.ReadAt(text, m.at); err != nil {
		return File{}, fmt.Errorf("read the list of files again: %w", err)
	}
	return parseLine(text)
}

// maxClashes bounds how many files that cannot lie beside each other are named.
const maxClashes = 10

// settle finds out which files cannot lie beside each other, which is an error,
// and which are here: the journal says that they were verified, and they look
// as they did then. fold maps paths that are one in the folder to one.
func (p *plan) settle(ctx context.Context, fold func(string) string, verified *journal, looks func(path string) (os.FileInfo, error)) error {
	if err := p.mention(fold); err != nil {
		return err
	}
	if err := verified.mention(&p.mentions, fold); err != nil {
		return err
	}
	var clashes []string
	for same, err := range p.mentions.sorted() {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if same[0].kind != asFile {
			continue
		}
		clash, err := p.settlePath(same, verified, looks)
		if err != nil {
			return err
		}
		if clash != "" {
			clashes = append(clashes, clash)
		}
		if len(clashes) == maxClashes {
			break
		}
	}
	if len(clashes) > 0 {
		return gapless.Errorf(gapless.CodeFileList, "", "%s", strings.Join(clashes, "; "))
	}
	return nil
}

// mention adds a mention of every file and, unless the file before lies there
// too, of the folders that it is in.
func (p *plan) mention(fold func(string) string) error {
	before, at := "", int64(0)
	for l, err := range p.all() {
		if err != nil {
			return err
		}
		path := fold(l.Path)
		m := mention{key: keyOf(path), kind: asFile, number: l.number, at: at, length: l.length}
		if err := p.mentions.add(m); err != nil {
			return err
		}
		m.kind = asFolder
		for i := range len(path) {
			if path[i] != '/' || strings.HasPrefix(before, path[:i+1]) {
				continue
			}
			m.key = keyOf(path[:i])
			if err := p.mentions.add(m); err != nil {
				return err
			}
		}
		before = path
		at += int64(l.length)
	}
	return nil
}

// settlePath looks at all mentions of one path, of which the first is a file.
func (p *plan) settlePath(same []mention, verified *journal, looks func(string) (os.FileInfo, error)) (clash string, err error) {
	if len(same) == 1 {
		return "", nil
	}
	first, err := p.line(same[0])
	if err != nil {
		return "", err
	}
	for _, m := range same[1:] {
		if m.kind == asVerified {
			continue
		}
		other, err := p.line(m)
		switch {
		case err != nil:
			return "", err
		case m.kind == asFolder:
			return fmt.Sprintf("%q cannot be a file and the folder of %q", first.Path, other.Path), nil
		case !sameContent(first, other):
			return fmt.Sprintf("%q and %q are two files that would be one here", first.Path, other.Path), nil
		}
		p.again.set(m.number)
		p.doubles++
		p.bytes -= max(other.Size, 0)
		p.absent -= max(other.Size, 0)
	}
	last := same[len(same)-1]
	if last.kind != asVerified {
		return "", nil
	}
	was, err := readLine(verified.file, last)
	if err != nil {
		return "", err
	}
	if was.Path == first.Path && fulfils(was, first) {
		info, err := looks(first.Path)
		if err == nil && info.Mode().IsRegular() && info.Size() == was.Size && info.ModTime().Equal(was.Modified) {
			p.present.set(same[0].number)
			p.absent -= max(first.Size, 0)
		}
	}
	return "", nil
}

// sameContent reports whether two files are proven to be equal.
func sameContent(a, b File) bool {
	return a.Hash != "" && a.Hash == b.Hash && a.Algorithm == b.Algorithm && (a.Size == b.Size || a.Size < 0 || b.Size < 0)
}

// fulfils reports whether a file that was verified is the one that is wanted.
func fulfils(was, wanted File) bool {
	if wanted.Hash != "" && !sameContent(was, wanted) {
		return false
	}
	return wanted.Size < 0 || wanted.Size == was.Size
}

// files returns how many are wanted.
func (p *plan) files() int64 { return int64(p.count) - p.doubles }

// planned is a line of the list.
type planned struct {
	File
	number, length uint32
	// present is whether the file is known to be here.
	present bool
}

// all returns every line of the list.
func (p *plan) all() iter.Seq2[planned, error] {
	return func(yield func(planned, error) bool) {
		in := bufio.NewReaderSize(io.NewSectionReader(p.lines, 0, p.at), 64<<10)
		for number := range p.count {
			text, err := in.ReadBytes('\n')
			l := planned{number: number, length: uint32(len(text)), present: p.present.has(number)}
			if err == nil {
				l.File, err = parseLine(text)
			}
			if err != nil {
				yield(l, fmt.Errorf("read the list of files again: %w", err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// distinct returns the lines of the list without those that say the same as one
// before.
func (p *plan) distinct() iter.Seq2[planned, error] {
	return func(yield func(planned, error) bool) {
		for l, err := range p.all() {
			if err == nil && p.again.has(l.number) {
				continue
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// foldCase maps names that a file system without case takes for one to one.
func foldCase(path string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, path)
}

func asItIs(path string) string { return path }

// bits is a set of small numbers.
type bits []uint64

func (b *bits) set(n uint32) {
	for int(n/64) >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bits) has(n uint32) bool { return int(n/64) < len(b) && b[n/64]&(1<<(n%64)) != 0 }
