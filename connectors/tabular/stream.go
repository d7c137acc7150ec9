package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

// Compressions of a file. auto looks at its first bytes.
const (
	compressionAuto = "auto"
	compressionNone = "none"
	compressionGzip = "gzip"
	compressionZstd = "zstd"
)

// maxWindow bounds the memory that a zstd stream may ask for.
const maxWindow = 64 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// stream is one opened input, decompressed.
type stream struct {
	file   io.ReadCloser
	info   fs.FileInfo // when it was opened; nil for standard input
	text   io.Reader
	unzip  func()
	path   string
	offset int64 // bytes of text read so far
	plain  bool  // not compressed, so that offset is one of the file
}

// openStream opens an input. stdin is read for the path -.
func openStream(in input, compression string, stdin io.Reader) (*stream, error) {
	s := &stream{path: in.path, unzip: func() {}}
	if in.path == standardInput {
		s.path, s.file = "standard input", io.NopCloser(stdin)
	} else {
		f, err := os.Open(in.path)
		if err != nil {
			return nil, unreachable(err)
		}
		s.file = f
		if s.info, err = f.Stat(); err != nil {
			return nil, errors.Join(unreachable(err), f.Close())
		}
	}
	if err := s.decompress(compression); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *stream) decompress(compression string) error {
	s.text = s.file
	if compression == compressionAuto {
		head := make([]byte, len(zstdMagic))
		n, err := io.ReadFull(s.file, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return s.unreadable(err)
		}
		compression = compressionNone
		switch {
		case bytes.HasPrefix(head[:n], gzipMagic):
			compression = compressionGzip
		case n == len(zstdMagic) && bytes.Equal(head, zstdMagic):
			compression = compressionZstd
		}
		s.text = io.MultiReader(bytes.NewReader(head[:n]), s.file)
	}
	switch compression {
	case compressionGzip:
		z, err := gzip.NewReader(s.text)
		if err != nil {
			return s.unreadable(err)
		}
		s.text = z
	case compressionZstd:
		z, err := zstd.NewReader(s.text, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return s.unreadable(err)
		}
		s.text, s.unzip = z, z.Close
	default:
		s.plain = true
	}
	return nil
}

// seek continues at an offset of a file that is not compressed.
func (s *stream) seek(offset int64) error {
	f, ok := s.file.(*os.File)
	if !ok || !s.plain {
		return fmt.Errorf("%s cannot be read from the middle", s.path)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return unreachable(err)
	}
	s.text, s.offset = f, offset
	return nil
}

// Read returns text. At the end of a file that is no longer the one that was
// opened it returns an error instead of io.EOF: what was read may be neither
// the old content nor the new.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.text.Read(p)
	s.offset += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		if err := s.verify(); err != nil {
			return n, err
		}
		return n, io.EOF
	case err != nil:
		return n, s.unreadable(err)
	}
	return n, nil
}

func (s *stream) verify() error {
	f, ok := s.file.(*os.File)
	if !ok || !s.info.Mode().IsRegular() {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return unreachable(err)
	}
	was, is := stamp.Of(s.info), stamp.Of(info)
	if was.Size != is.Size || was.Modified != is.Modified {
		return gapless.Recoverable(fmt.Errorf("%s changed while it was read", s.path))
	}
	return nil
}

func (s *stream) unreadable(err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return unreachable(err)
	}
	return gapless.Because(gapless.CauseUnreadable, fmt.Errorf("decompress %s: %w", s.path, err))
}

// Close closes the input.
func (s *stream) Close() error {
	s.unzip()
	return s.file.Close()
}
