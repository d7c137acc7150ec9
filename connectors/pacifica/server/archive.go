package server

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"sort"
	"time"
)

const (
	block = 512
	// trailer is the two blocks of zeros that end an archive.
	trailer = 2 * block
)

// archive is the layout of a cart as a tar archive below one top folder. The
// same files and the same folder are the same bytes, whenever they are ordered.
type archive struct {
	root    string
	entries []entry
	// starts has where the header of each entry begins, and then where the
	// trailer does.
	starts []int64
	etag   string
}

// newArchive lays out verified entries. The ETag is over every header and
// every hash, so it is as strong as the hashes are.
func newArchive(root string, entries []entry) (*archive, error) {
	a := &archive{root: root, entries: entries, starts: make([]int64, 0, len(entries)+1)}
	sum := sha256.New()
	var header bytes.Buffer
	var at int64
	for i := range entries {
		if err := a.header(&header, i); err != nil {
			return nil, err
		}
		a.starts = append(a.starts, at)
		at += int64(header.Len()) + padded(entries[i].Size)
		_, _ = sum.Write(header.Bytes()) // a hash never fails
		_, _ = io.WriteString(sum, entries[i].Algorithm+" "+entries[i].Hash+"\n")
	}
	a.starts = append(a.starts, at)
	a.etag = `"` + hex.EncodeToString(sum.Sum(nil)[:16]) + `"`
	return a, nil
}

// size returns the length of the archive in bytes.
func (a *archive) size() int64 { return a.starts[len(a.entries)] + trailer }

// header writes the header of an entry: ustar if that can hold it, else PAX.
func (a *archive) header(to *bytes.Buffer, i int) error {
	to.Reset()
	e := &a.entries[i]
	err := tar.NewWriter(to).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path.Join(a.root, e.Path), Size: e.Size, Mode: 0o644, ModTime: time.Unix(e.Modified, 0),
	})
	if err != nil {
		return fmt.Errorf("lay out %q: %w", e.Path, err)
	}
	return nil
}

// find returns the entry that the byte at an offset belongs to; the number of
// entries stands for the trailer.
func (a *archive) find(offset int64) int {
	return sort.Search(len(a.starts), func(i int) bool { return a.starts[i] > offset }) - 1
}

// padded rounds up to whole blocks.
func padded(size int64) int64 { return (size + block - 1) &^ (block - 1) }
