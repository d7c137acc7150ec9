package repocheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite generated pages")

const module = "github.com/gapless-sync/gapless"

// top is the repository's folder, seen from this package's.
var top = filepath.Join("..", "..")

// pkg is what go list says about one package of the module.
type pkg struct {
	Dir, ImportPath, Name                                                    string
	GoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles, Imports, TestImports []string
	XTestImports                                                             []string
}

// path below the module, "" for its root.
func (p pkg) path() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// inModule returns an import's path below the module.
func inModule(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

var listed = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,Name,GoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
})

func packages(t *testing.T) []pkg {
	t.Helper()
	list, err := listed()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(list) < 2 {
		t.Fatalf("go list found %d packages", len(list))
	}
	return list
}

// source is one parsed file; name is its path below the repository.
type source struct {
	name string
	test bool
	set  *token.FileSet
	*ast.File
}

// parse reads all files of a package, tests included.
func (p pkg) parse(t *testing.T) []source {
	t.Helper()
	absolute, err := filepath.Abs(top)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []source
	add := func(names []string, test bool) {
		for _, name := range names {
			full := filepath.Join(p.Dir, name)
			f, err := parser.ParseFile(set, full, nil, parser.ParseComments)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			short, err := filepath.Rel(absolute, full)
			if err != nil {
				short = name
			}
			files = append(files, source{filepath.ToSlash(short), test, set, f})
		}
	}
	add(p.GoFiles, false)
	add(p.IgnoredGoFiles, false)
	add(p.TestGoFiles, true)
	add(p.XTestGoFiles, true)
	return files
}

// generated compares a page with what it should be, or rewrites it.
func generated(t *testing.T, name, want string) {
	t.Helper()
	file := filepath.Join(top, filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with go test ./internal/repocheck -update", err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("%s is out of date; rewrite it with go test ./internal/repocheck -update (-is +should be):\n%s", name, diff)
	}
}
