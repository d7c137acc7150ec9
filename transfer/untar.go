package transfer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Untar delivers the files of a plain tar stream in the formats of ustar, PAX
// and GNU, under the paths that rename returns for the names of the members in
// their shortest form; a member for which it returns "" is skipped, and so are
// folders. The path is checked after that as those of [File] are; sizes and
// times are those of the archive.
//
// Links, devices, FIFOs, sparse files and members whose name is absolute or has
// a .. element are refused; that and what cannot be read is recoverable, with
// the cause [github.com/gapless-sync/gapless.CauseUnreadable]. A stream that
// ends before the two zero blocks that end an archive is
// [io.ErrUnexpectedEOF], recoverable. Other errors are those of r, rename and
// deliver. Within a call of [Supplier.Supply], reading is under the time limit
// for silence.
func Untar(ctx context.Context, r io.Reader, rename func(member string) (string, error), deliver Deliver) error {
	in := &counted{r: guarded{r, guardOf(ctx)}}
	archive := tar.NewReader(in)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		begin := in.total
		header, err := archive.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return in.checkEnd(begin)
		}
		if err != nil {
			return in.failure("read the archive", err)
		}
		to, err := member(header, rename)
		if err != nil {
			return err
		}
		if to != "" {
			err := deliver(Content{Path: to, Size: header.Size, Modified: header.ModTime, Body: archive})
			if err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.Discard, archive); err != nil {
			return in.failure(fmt.Sprintf("read the archive's member %q", header.Name), err)
		}
	}
}

// member returns the path of a member, or "" if it is none to deliver.
func member(header *tar.Header, rename func(string) (string, error)) (string, error) {
	name := header.Name
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeXGlobalHeader:
	default:
		return "", unreadable("the archive's member %q is neither a file nor a folder", name)
	}
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "", unreadable("the archive's member %q is a sparse file", name)
		}
	}
	if header.Typeflag == tar.TypeXGlobalHeader {
		return "", nil
	}
	if path.IsAbs(name) {
		return "", unreadable("the archive's member %q has an absolute name", name)
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return "", unreadable("the archive's member %q leads out of its folder", name)
		}
	}
	if header.Typeflag == tar.TypeDir {
		return "", nil
	}
	to, err := rename(path.Clean(name))
	if err != nil || to == "" {
		return "", err
	}
	if err := CheckPath(to); err != nil {
		return "", unreadable("the archive's member: %w", err)
	}
	return to, nil
}
