package tabular

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// format is one of the two, as a folder of ten files holds it.
type format struct {
	connector gapless.Connector
	header    string
	line      func(name string, revision int) string
	options   map[string]any // of the destination
}

func formats() map[string]format {
	return map[string]format{
		"jsonl": {JSONL(), "", func(name string, n int) string { return fmt.Sprintf("{\"id\":%q,\"n\":%d}\n", name, n) }, map[string]any{}},
		"csv":   {CSV(), "id,n\n", func(name string, n int) string { return fmt.Sprintf("%s,%d\n", name, n) }, map[string]any{"columns": "id,n"}},
	}
}

func TestTabularSurvivesAsSource(t *testing.T) {
	t.Parallel()
	for name, f := range formats() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gaplesstest.CheckSource(t, gaplesstest.SourceCase{
				New: func(t testing.TB, _ *gaplesstest.Breaker) gaplesstest.SourceSystem { return f.folder(t) },
			})
		})
	}
}

// folder is an outside system of files that are written anew with every edit.
func (f format) folder(t testing.TB) gaplesstest.SourceSystem {
	dir, records := t.TempDir(), map[string]map[string]int{}
	write := func(file string) {
		t.Helper()
		text := f.header
		for _, name := range slices.Sorted(maps.Keys(records[file])) {
			text += f.line(name, records[file][name])
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		file := strconv.Itoa(i)
		records[file] = map[string]int{}
		write(file)
	}
	return gaplesstest.SourceSystem{
		Open: func() gapless.Source {
			s, err := f.connector.Source.Open(t.Context(), map[string]any{"path": filepath.Join(dir, "*")}, gapless.Env{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Put: func(name string, revision int) {
			file := name[len(name)-1:]
			records[file][name] = revision
			write(file)
		},
		Remove: func(name string) {
			file := name[len(name)-1:]
			delete(records[file], name)
			write(file)
		},
		Read: func(_ gapless.Partition, c gapless.Change) (name string, revision int) {
			return c.Key, int(gjson.GetBytes(c.Data, "n").Int())
		},
	}
}

func TestTabularSurvivesAsDestination(t *testing.T) {
	t.Parallel()
	for name, f := range formats() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gaplesstest.CheckDestination(t, gaplesstest.DestinationCase{
				New: f.file,
				Except: map[string]string{
					"unauthorized": "a disk asks for no credentials",
				},
			})
		})
	}
}

// file is an outside system of one file, whose disk can fail.
func (f format) file(t testing.TB, b *gaplesstest.Breaker) gaplesstest.DestinationSystem {
	path := filepath.Join(t.TempDir(), "out")
	options := maps.Clone(f.options)
	options["path"] = path
	open := func(broken func(step, path string) error) gapless.Destination {
		s := openStore(t, f.connector, options)
		s.disk.fault = broken
		return s
	}
	held := func() map[string]int {
		s, err := open(nil).Open(t.Context(), "kit", 0)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]int{}
		for _, collection := range []string{"r", "s"} {
			p := gapless.Partition{ID: collection, Collection: collection, Prefix: "r"} // of all partitions
			err := s.(gapless.Enumerator).Enumerate(t.Context(), p, func(key, version []byte) error {
				all[string(key)], err = strconv.Atoi(string(version))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	return gaplesstest.DestinationSystem{
		Open: func() gapless.Destination {
			return open(func(string, string) error { return diskError(b.Call(t.Context())) })
		},
		Record: func(p gapless.Partition, name string, n int) gapless.Record {
			data := fmt.Sprintf(`{"id":%q,"n":%d}`, p.Prefix+name, n)
			return gapless.Record{Key: p.Prefix + name, Version: strconv.Itoa(n), Data: []byte(data)}
		},
		Refused: func(p gapless.Partition, name string) gapless.Record {
			return gapless.Record{Key: p.Prefix + name + strings.Repeat("x", gapless.MaxKeyBytes), Data: []byte(`{}`)}
		},
		Holds:   held,
		Crash:   func() {}, // a process that is killed: the system writes what it left, sooner or later
		Replace: func() { replaceStore(t, path) },
	}
}

// diskError is what a disk says instead of a fault.
func diskError(fault error) error {
	switch {
	case fault == nil:
		return nil
	case errors.Is(fault, gaplesstest.Throttled):
		return syscall.ENOSPC
	case errors.Is(fault, gaplesstest.Forbidden):
		return fs.ErrPermission
	}
	return syscall.EIO
}

func replaceStore(t testing.TB, path string) {
	t.Helper()
	for _, p := range []string{path, path + folderSuffix} {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}
