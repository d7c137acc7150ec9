package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// line is a file as one line of JSON: in lists, in the journal and while a list
// is put in order.
type line struct {
	Path     string    `json:"path"`
	Size     *int64    `json:"size,omitempty"`
	Hash     string    `json:"hash,omitempty"` // algorithm:hexadecimal
	URL      string    `json:"url,omitempty"`
	Modified time.Time `json:"modified,omitzero"`
}

func appendLine(dst []byte, f File) ([]byte, error) {
	l := line{Path: f.Path, URL: f.Origin, Modified: f.Modified}
	if f.Size >= 0 {
		l.Size = &f.Size
	}
	if f.Hash != "" {
		l.Hash = f.Algorithm + ":" + f.Hash
	}
	text, err := json.Marshal(l)
	if err != nil {
		return dst, fmt.Errorf("%q: %w", f.Path, err)
	}
	return append(append(dst, text...), '\n'), nil
}

func parseLine(text []byte) (File, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return File{}, fmt.Errorf("not a JSON object of a file: %w", err)
	}
	f := File{Path: l.Path, Size: -1, Origin: l.URL, Modified: l.Modified}
	if l.Size != nil {
		f.Size = *l.Size
	}
	if l.Hash != "" {
		algorithm, digits, ok := strings.Cut(l.Hash, ":")
		if !ok {
			return f, fmt.Errorf("%q: want a hash as sha256:hexadecimal, not %q", l.Path, l.Hash)
		}
		f.Algorithm, f.Hash = algorithm, digits
	}
	return f, nil
}

// MaxLine is the length of the longest line of a list, in bytes.
const MaxLine = 64 << 10

// ReadList returns the files of a list, each with a URL as its origin. A line is
// either a JSON object
//
//	{"path": "a/b.txt", "size": 5, "hash": "sha256:...", "url": "https://...", "modified": "2026-01-02T03:04:05Z"}
//
// of which only the path must be there, or what sha256sum and its like print:
// the hash, two spaces, the path. Blank lines and those that begin with # mean
// nothing. A missing URL is the path below base, a relative one is resolved
// against it; base may be nil if neither occurs. The first line that cannot be
// used ends the sequence with an error of [gapless.CodeFileList].
func ReadList(r io.Reader, base *url.URL) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, MaxLine)
		number := 0
		for scanner.Scan() {
			number++
			text := bytes.TrimRight(scanner.Bytes(), "\r")
			if blank := bytes.TrimSpace(text); len(blank) == 0 || blank[0] == '#' {
				continue
			}
			f, err := listed(text, base)
			if err != nil {
				yield(f, gapless.Errorf(gapless.CodeFileList, fmt.Sprintf("line %d", number), "%w", err))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
		if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
			yield(File{}, gapless.Errorf(gapless.CodeFileList, fmt.Sprintf("line %d", number+1), "longer than %d bytes", MaxLine))
		} else if err != nil {
			yield(File{}, fmt.Errorf("read the list of files: %w", err))
		}
	}
}

func listed(text []byte, base *url.URL) (File, error) {
	parse := parseSum
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		parse = parseLine
	}
	f, err := parse(text)
	if err != nil {
		return f, err
	}
	if f, err = f.Check(); err != nil {
		return f, err
	}
	f.Origin, err = locate(f, base)
	return f, err
}

// parseSum reads a line of sha256sum and its like; the number of digits tells
// the algorithm. A backslash before the hash says that the path is escaped, a
// star before the path that the file was read as binary.
func parseSum(text []byte) (File, error) {
	digits, path, ok := strings.Cut(string(text), " ")
	if !ok || path == "" || (path[0] != ' ' && path[0] != '*') {
		return File{}, errors.New("want a JSON object, or a hash, two spaces and a path")
	}
	path = path[1:]
	if rest, escaped := strings.CutPrefix(digits, `\`); escaped {
		digits, path = rest, strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(path)
	}
	algorithm := map[int]string{32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}[len(digits)]
	if algorithm == "" {
		return File{}, fmt.Errorf("%d digits are the hash of no known algorithm", len(digits))
	}
	return File{Path: strings.TrimPrefix(path, "./"), Size: -1, Algorithm: algorithm, Hash: digits}, nil
}

// locate returns the URL of a file.
func locate(f File, base *url.URL) (string, error) {
	if f.Origin == "" {
		if base == nil {
			return "", fmt.Errorf("%q has no URL, and there is none to add the path to", f.Path)
		}
		var elements []string
		for element := range strings.SplitSeq(f.Path, "/") {
			elements = append(elements, url.PathEscape(element))
		}
		u := base.JoinPath(elements...)
		return u.String(), checkURL(u)
	}
	u, err := url.Parse(f.Origin)
	if err != nil {
		return "", fmt.Errorf("%q: %w", f.Path, unwrapURL(err))
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	if err := checkURL(u); err != nil {
		return "", fmt.Errorf("%q: %w", f.Path, err)
	}
	return u.String(), nil
}

// checkURL returns why nothing can be fetched from a URL.
func checkURL(u *url.URL) error {
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return errors.New("want an http or https URL with a host")
	}
	return nil
}

// unwrapURL takes the URL out of an error's text: it may hold credentials.
func unwrapURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
