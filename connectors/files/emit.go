package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

// emitter is the visitor that turns files into records.
type emitter struct {
	source   *source
	ctx      context.Context //nolint:containedctx // an emitter lives for one walk
	out      *gapless.Output
	started  time.Time
	position gapless.Position // that marks belong to; empty: no marks
	unmarked int
	problems []error
	failed   int
	hasher   hasher
}

func (v *emitter) folder(string, stamp.Stamp) error { return nil }

func (v *emitter) file(path string, st stamp.Stamp) error {
	if problem := v.problem(path, st); problem != nil {
		return v.reject(path, problem)
	}
	b := v.out.Batch()
	row := gapless.Row{Modified: st.Modified}
	row.Key = b.AppendBytes([]byte(path))
	start := len(b.Buf)
	buf, err := v.version(b.Buf, path, st)
	if err != nil {
		b.Buf = b.Buf[:row.Key.Off]
		if v.ctx.Err() != nil {
			return context.Cause(v.ctx)
		}
		return v.reject(path, err)
	}
	b.Buf = buf
	row.Version = gapless.Span{Off: uint32(start), Len: uint32(len(b.Buf) - start)}
	name := base(path)
	ext := extension(name)
	kind := mediaType(name, ext)
	start = len(b.Buf)
	b.Buf = appendData(b.Buf, path, kind, st)
	row.Data = gapless.Span{Off: uint32(start), Len: uint32(len(b.Buf) - start)}
	tree := v.source.tree
	b.AppendRow(row, gapless.Part{
		Name: "content", Type: kind, Size: st.Size, Version: string(b.Bytes(row.Version)),
		Open: func(context.Context) (io.ReadCloser, error) { return tree.openContent(path, st) },
	})
	return v.emitted(path)
}

// problem returns why a file cannot be a record.
func (v *emitter) problem(path string, st stamp.Stamp) error {
	switch {
	case !utf8.ValidString(path):
		return errors.New("the file's name is not valid UTF-8")
	case len(path) > gapless.MaxKeyBytes:
		return fmt.Errorf("the path has %d bytes, more than %d", len(path), gapless.MaxKeyBytes)
	case st.Size > v.source.maxSize:
		return fmt.Errorf("the file has %s, more than max_size (%s)", gapless.ByteSize(st.Size), gapless.ByteSize(v.source.maxSize))
	}
	return nil
}

// version appends the version of a file: its stamp, made unique if the file
// could still change without the stamp showing it; or the hash of its content.
func (v *emitter) version(dst []byte, path string, st stamp.Stamp) ([]byte, error) {
	if v.source.contentHash {
		return v.hasher.append(v.ctx, dst, path, st)
	}
	dst = st.Append(dst)
	if st.Fresh(v.started) {
		dst = stamp.AppendSalt(dst)
	}
	return dst, nil
}

// emitted counts a record and marks the way every now and then.
func (v *emitter) emitted(path string) error {
	v.unmarked++
	if v.unmarked < markEvery || v.position == "" {
		return v.out.FlushIfFull()
	}
	v.unmarked = 0
	return v.out.Mark(markOf(v.position, path))
}

// reject reports a file that exists but cannot be a record. Its key is known
// even if it is no text, so the rest of the tree stays complete.
func (v *emitter) reject(path string, err error) error {
	return v.out.Reject(gapless.Rejection{
		Key: strings.ToValidUTF8(path, "\uFFFD"), Origin: v.source.tree.join(path), Raw: []byte(path), Err: err,
	})
}

// appendData writes the JSON object of a file's record.
func appendData(dst []byte, path, kind string, st stamp.Stamp) []byte {
	name := base(path)
	dst = appendString(append(dst, `{"path":`...), path)
	dst = appendString(append(dst, `,"name":`...), name)
	dst = appendString(append(dst, `,"ext":`...), extension(name))
	dst = fmt.Appendf(dst, `,"size":%d,"modified":"`, st.Size)
	dst = time.Unix(0, st.Modified).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = appendString(append(dst, `","type":`...), kind)
	return append(dst, '}')
}

// appendString writes a JSON string of valid UTF-8.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
