package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// packed returns an archive of members with contents of five bytes.
func packed(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg || h.Typeflag == 0 {
			h.Size = 5
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, "12345"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpack returns what is delivered; a delivery that cannot be read is left out.
func unpack(ctx context.Context, r io.Reader) (map[string]string, error) {
	got := map[string]string{}
	err := Untar(ctx, r, withoutTop, func(c Content) error {
		if data, err := io.ReadAll(c.Body); err == nil {
			got[c.Path] = string(data)
		}
		return nil
	})
	return got, err
}

func TestUntar(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("d/", 120) + "long"
	for _, test := range []struct {
		name    string
		archive []byte
		want    map[string]string
		fails   string
	}{
		{"plain", packed(t, tar.Header{Name: "data/a"}, tar.Header{Name: "data/b/c"}), map[string]string{"a": "12345", "b/c": "12345"}, ""},
		{"empty", packed(t), map[string]string{}, ""},
		{"names in long forms", packed(t, tar.Header{Name: "./data//a"}), map[string]string{"a": "12345"}, ""},
		{"PAX", packed(t, tar.Header{Name: "data/" + long, Format: tar.FormatPAX}, tar.Header{Name: "data/ü"}), map[string]string{long: "12345", "ü": "12345"}, ""},
		{"GNU", packed(t, tar.Header{Name: "data/" + long, Format: tar.FormatGNU}), map[string]string{long: "12345"}, ""},
		{"folders", packed(t, tar.Header{Name: "data/", Typeflag: tar.TypeDir}, tar.Header{Name: "data/x/", Typeflag: tar.TypeDir}, tar.Header{Name: "data/a"}), map[string]string{"a": "12345"}, ""},
		{"global header", packed(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, tar.Header{Name: "data/a"}), map[string]string{"a": "12345"}, ""},
		{"no path left", packed(t, tar.Header{Name: "data"}, tar.Header{Name: "data/a"}), map[string]string{"a": "12345"}, ""},
		{"absolute", packed(t, tar.Header{Name: "data/a"}, tar.Header{Name: "/data/b"}), map[string]string{"a": "12345"}, `"/data/b" has an absolute name`},
		{"above", packed(t, tar.Header{Name: "data/../../b"}), map[string]string{}, `"data/../../b" leads out of its folder`},
		{"above within", packed(t, tar.Header{Name: "data/x/../b"}), map[string]string{}, `leads out of its folder`},
		{"folder above", packed(t, tar.Header{Name: "../", Typeflag: tar.TypeDir}), map[string]string{}, `leads out of its folder`},
		{"link", packed(t, tar.Header{Name: "data/l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}), map[string]string{}, `"data/l" is neither a file nor a folder`},
		{"hard link", packed(t, tar.Header{Name: "data/l", Typeflag: tar.TypeLink, Linkname: "data/a"}), map[string]string{}, `neither`},
		{"FIFO", packed(t, tar.Header{Name: "data/f", Typeflag: tar.TypeFifo}), map[string]string{}, `neither`},
		{"device", packed(t, tar.Header{Name: "data/d", Typeflag: tar.TypeBlock}), map[string]string{}, `neither`},
		{"taken name", packed(t, tar.Header{Name: "data/.gapless/journal"}), map[string]string{}, `is taken`},
		{"not UTF-8", packed(t, tar.Header{Name: "data/\xff", Format: tar.FormatGNU}), map[string]string{}, `not UTF-8`},
		{"no archive", []byte(strings.Repeat("<html>no</html>", 100)), map[string]string{}, `after 512 bytes`},
		{"nothing", nil, map[string]string{}, io.ErrUnexpectedEOF.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := unpack(t.Context(), bytes.NewReader(test.archive))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if err != nil && gapless.KindOf(err) != gapless.KindRecoverable {
				t.Errorf("%v is %s", err, gapless.KindOf(err))
			}
		})
	}
}

// TestUntarCut cuts an archive at every byte: only the whole is a success. Its
// last content is zeros, so that its end looks like the end of an archive.
func TestUntarCut(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, data := range [][]byte{[]byte("12345"), make([]byte, 2048)} {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("data/%d", i), Size: int64(len(data)), Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "x"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := out.Bytes()
	for n := range whole {
		for name, r := range map[string]io.Reader{"clean": bytes.NewReader(whole[:n]), "one byte at a time": &oneByte{whole[:n]}} {
			if _, err := unpack(t.Context(), r); !errors.Is(err, io.ErrUnexpectedEOF) || gapless.KindOf(err) != gapless.KindRecoverable {
				t.Fatalf("cut %s after %d of %d bytes: %v", name, n, len(whole), err)
			}
		}
	}
	if got, err := unpack(t.Context(), bytes.NewReader(whole)); err != nil || len(got) != 2 {
		t.Error(got, err)
	}
	if got, err := unpack(t.Context(), bytes.NewReader(append(whole, make([]byte, 10240)...))); err != nil || len(got) != 2 {
		t.Error("padded to a record:", got, err)
	}
}

type oneByte struct{ rest []byte }

func (r *oneByte) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	p[0], r.rest = r.rest[0], r.rest[1:]
	return 1, nil
}

// TestUntarSparse refuses what is larger than it seems.
func TestUntarSparse(t *testing.T) {
	t.Parallel()
	archive := packed(t, tar.Header{Name: "data/a", Format: tar.FormatPAX, PAXRecords: map[string]string{"LIBARCHIVE.xattr.x": "y"}})
	if _, err := unpack(t.Context(), bytes.NewReader(archive)); err != nil {
		t.Error(err)
	}
	old := packed(t, tar.Header{Name: "data/a", Format: tar.FormatGNU})
	old[156] = tar.TypeGNUSparse
	sum := 0
	copy(old[148:156], "        ")
	for _, b := range old[:512] {
		sum += int(b)
	}
	copy(old[148:156], fmt.Sprintf("%06o\x00 ", sum))
	if _, err := unpack(t.Context(), bytes.NewReader(old)); err == nil {
		t.Error("a sparse file was taken")
	}
}

func TestUntarPassesErrorsOn(t *testing.T) {
	t.Parallel()
	archive := packed(t, tar.Header{Name: "data/a"}, tar.Header{Name: "data/b"})
	broken := errors.New("broken")
	err := Untar(t.Context(), bytes.NewReader(archive), withoutTop, func(Content) error { return broken })
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	err = Untar(t.Context(), bytes.NewReader(archive), func(string) (string, error) { return "", broken }, func(Content) error { return nil })
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	err = Untar(t.Context(), io.MultiReader(bytes.NewReader(archive[:600]), failing{broken}), withoutTop, func(Content) error { return nil })
	if !errors.Is(err, broken) || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if err := Untar(ctx, bytes.NewReader(archive), withoutTop, nil); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestUntarUnread skips what a delivery did not read, and gives times on.
func TestUntarUnread(t *testing.T) {
	t.Parallel()
	archive := packed(t, tar.Header{Name: "data/a", ModTime: time.Unix(1e9, 0)}, tar.Header{Name: "data/b"})
	var got []string
	err := Untar(t.Context(), bytes.NewReader(archive), withoutTop, func(c Content) error {
		got = append(got, fmt.Sprint(c.Path, " ", c.Size, " ", c.Modified.Unix()))
		return nil
	})
	if diff := cmp.Diff([]string{"a 5 1000000000", "b 5 0"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func FuzzUntar(f *testing.F) {
	f.Add(packed(f, tar.Header{Name: "data/a"}, tar.Header{Name: "data/ü", Format: tar.FormatPAX}))
	f.Add(packed(f, tar.Header{Name: "data/" + strings.Repeat("x/", 150) + "y", Format: tar.FormatGNU}))
	f.Add(packed(f, tar.Header{Name: "data/l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}))
	f.Add(packed(f, tar.Header{Name: "../x"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		read := 0
		err := Untar(t.Context(), bytes.NewReader(archive), func(m string) (string, error) { return m, nil }, func(c Content) error {
			if err := CheckPath(c.Path); err != nil || !fs.ValidPath(c.Path) {
				t.Errorf("%q was delivered: %v", c.Path, err)
			}
			n, _ := io.Copy(io.Discard, c.Body)
			read += int(n)
			return nil
		})
		if read > len(archive) {
			t.Errorf("%d bytes of an archive of %d", read, len(archive))
		}
		if err != nil && gapless.KindOf(err) != gapless.KindRecoverable {
			t.Error(err)
		}
		if n := len(archive); err == nil && (n < 1024 || !bytes.Contains(archive, make([]byte, 1024))) {
			t.Error("an archive without an end was taken")
		}
	})
}
