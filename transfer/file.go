package transfer

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// File is one wanted file.
type File struct {
	// Path is relative to the target folder, with slashes.
	Path string
	// Size in bytes; -1 if it is not known.
	Size int64
	// Algorithm of the hash: md5, sha1, sha224, sha256, sha384 or sha512; ""
	// if there is no hash.
	Algorithm string
	// Hash of the content in lower-case hexadecimal.
	Hash string
	// Modified is given to the file; zero if it is not known.
	Modified time.Time
	// Origin is what the supplier finds the file by: a URL, an id.
	Origin string
}

// Limits of paths, in bytes: what the usual file systems take.
const (
	MaxPath      = 4096
	MaxComponent = 255
)

// stateFolder is below the target and holds what is not finished.
const stateFolder = ".gapless"

// Check returns the file in its normal form, algorithm and hash in lower case,
// or why it cannot be brought: the path is not safe, the size is below -1, or
// the hash is none. A file without a hash passes.
func (f File) Check() (File, error) {
	if err := CheckPath(f.Path); err != nil {
		return f, err
	}
	if f.Size < -1 {
		return f, fmt.Errorf("%q: %d is no size", f.Path, f.Size)
	}
	f.Algorithm, f.Hash = strings.ToLower(f.Algorithm), strings.ToLower(f.Hash)
	if f.Algorithm == "" && f.Hash == "" {
		return f, nil
	}
	if err := CheckHash(f.Algorithm, f.Hash); err != nil {
		return f, fmt.Errorf("%q: %w", f.Path, err)
	}
	return f, nil
}

// CheckPath returns why a path cannot be one of a file below a folder: it is
// absolute, leads out of the folder or is not in its shortest form, is too
// long, is not UTF-8, cannot be a name on this system, or is taken by the
// package itself.
func CheckPath(path string) error {
	switch {
	case path == "" || path == ".":
		return errors.New("a path is empty")
	case len(path) > MaxPath:
		return fmt.Errorf("path %q... is longer than %d bytes", path[:64], MaxPath)
	case !utf8.ValidString(path):
		return fmt.Errorf("path %q is not UTF-8", path)
	case strings.HasPrefix(path, "/"):
		return fmt.Errorf("path %q is absolute", path)
	case !fs.ValidPath(path):
		return fmt.Errorf("path %q has an empty, a . or a .. element", path)
	}
	if _, err := filepath.Localize(path); err != nil {
		return fmt.Errorf("path %q cannot be a name on this system", path)
	}
	for i, element := range strings.Split(path, "/") {
		if len(element) > MaxComponent {
			return fmt.Errorf("path %q... has an element of more than %d bytes", element[:64], MaxComponent)
		}
		if i == 0 && strings.EqualFold(element, stateFolder) {
			return fmt.Errorf("path %q begins with %s, which is taken", path, stateFolder)
		}
	}
	return nil
}

// CheckHash returns why a text is no hash of an algorithm, both in lower case.
func CheckHash(algorithm, text string) error {
	h := NewHash(algorithm)
	if h == nil {
		return fmt.Errorf("unknown hash algorithm %q; known are md5, sha1, sha224, sha256, sha384 and sha512", algorithm)
	}
	if sum, err := hex.DecodeString(text); err != nil || len(sum) != h.Size() {
		return fmt.Errorf("%q is no %s: want %d hexadecimal digits", text, algorithm, 2*h.Size())
	}
	return nil
}

// NewHash returns nil for an algorithm that is not known.
func NewHash(algorithm string) hash.Hash {
	switch algorithm {
	case "md5":
		return md5.New()
	case "sha1":
		return sha1.New()
	case "sha224":
		return sha256.New224()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}
