package repocheck

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxFuncLines is the hard limit of a function outside of tests, from its
// first line to its closing brace.
const maxFuncLines = 100

// TestPackagesExplainThemselves wants one package comment per package, in
// doc.go; a command may have it beside main.
func TestPackagesExplainThemselves(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		var commented []string
		for _, f := range p.parse(t) {
			if f.Doc != nil && !strings.HasSuffix(f.Name.Name, "_test") {
				commented = append(commented, f.name)
			}
		}
		switch {
		case len(p.GoFiles) == 0:
		case len(commented) != 1:
			t.Errorf("package %q has %d package comments %v, want one in doc.go", p.path(), len(commented), commented)
		case p.Name != "main" && path.Base(commented[0]) != "doc.go":
			t.Errorf("%s holds the package comment, want it in doc.go", commented[0])
		}
	}
}

var (
	shelf    = regexp.MustCompile(`(?i)^(utils?|helpers?|common|managers?|misc|shared|base|foundation)$`)
	vagueEnd = regexp.MustCompile(`(Manager|Helpers?|Utils?|Impl)$`)
)

// TestNamesSayWhatThingsDo refuses shelves for things without a home.
func TestNamesSayWhatThingsDo(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for element := range strings.SplitSeq(p.path(), "/") {
			if shelf.MatchString(element) || shelf.MatchString(p.Name) {
				t.Errorf("package %q: name it after what it does", p.path())
			}
		}
		for _, f := range p.parse(t) {
			for spec := range specs(f.File, token.TYPE) {
				if name := spec.(*ast.TypeSpec).Name.Name; vagueEnd.MatchString(name) {
					t.Errorf("%s: type %s: name it after what it does", f.name, name)
				}
			}
		}
	}
}

// specs iterates over the package-level specs of one kind.
func specs(f *ast.File, kind token.Token) func(func(ast.Spec) bool) {
	return func(yield func(ast.Spec) bool) {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != kind {
				continue
			}
			for _, s := range g.Specs {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// TestFunctionsStayShort holds functions to the hard limit, and forbids init.
func TestFunctionsStayShort(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, f := range p.parse(t) {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || f.test {
					continue
				}
				if fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init function: do it where the value is made", f.name)
				}
				lines := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1
				if lines > maxFuncLines {
					t.Errorf("%s: %s has %d lines, the most is %d", f.name, fn.Name.Name, lines, maxFuncLines)
				}
			}
		}
	}
}

// TestPackagesHaveNoMutableState allows package variables that nobody can
// change: sentinel errors, compiled expressions, interface guards, embedded
// files, and tables that no code assigns to.
func TestPackagesHaveNoMutableState(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		var files []source
		for _, f := range p.parse(t) {
			if !f.test {
				files = append(files, f)
			}
		}
		for _, problem := range mutableState(files) {
			t.Error(problem)
		}
	}
}

// constructors return values that do not change once they are made.
var constructors = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must", "strings.NewReplacer", "sync.OnceValue", "sync.OnceValues",
	"filepath.Join", "reflect.TypeFor", "big.NewInt", "crc32.MakeTable",
}

func mutableState(files []source) []string {
	var problems []string
	if len(files) == 0 {
		return nil
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	// Imports are not followed: only the package's own names have to resolve.
	conf := types.Config{Importer: noImports{}, Error: func(error) {}, FakeImportC: true}
	parsed := make([]*ast.File, len(files))
	for i, f := range files {
		parsed[i] = f.File
	}
	checked, _ := conf.Check(files[0].Name.Name, files[0].set, parsed, info)
	if checked == nil {
		return []string{files[0].name + ": cannot be resolved"}
	}
	for _, f := range files {
		for spec := range specs(f.File, token.VAR) {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if why := mutableByForm(f.File, v, i); name.Name != "_" && why != "" {
					problems = append(problems, fmt.Sprintf("%s: package variable %s %s", f.set.Position(name.Pos()), name.Name, why))
				}
			}
		}
		for _, id := range changed(f.File) {
			if v, ok := info.Uses[id].(*types.Var); ok && v.Parent() == checked.Scope() {
				problems = append(problems, fmt.Sprintf("%s: package variable %s is changed here", f.set.Position(id.Pos()), id.Name))
			}
		}
	}
	return problems
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, fmt.Errorf("not followed") }

// mutableByForm judges a declaration by its value.
func mutableByForm(f *ast.File, v *ast.ValueSpec, i int) string {
	exported := v.Names[i].IsExported()
	if len(v.Values) == 0 {
		if embedded(f, v) {
			return ""
		}
		return "has no value: it can only be there to be changed"
	}
	switch value := v.Values[min(i, len(v.Values)-1)].(type) {
	case *ast.CallExpr:
		if _, computed := value.Fun.(*ast.FuncLit); computed && !exported {
			return "" // a table that is computed once
		}
		name := types.ExprString(value.Fun)
		if slices.Contains(constructors, name) || name == "[]byte" || strings.HasPrefix(name, "reflect.TypeFor[") {
			return ""
		}
		return "is made by " + name + ", which internal/repocheck does not know to be constant"
	case *ast.CompositeLit, *ast.UnaryExpr:
		if exported {
			return "is a table that others can change: export a function"
		}
		return ""
	case *ast.BasicLit, *ast.BinaryExpr, *ast.Ident, *ast.SelectorExpr, *ast.FuncLit:
		return "could be a constant or a function"
	}
	return "is not known to be constant"
}

func embedded(f *ast.File, v *ast.ValueSpec) bool {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Doc == nil || !slices.Contains(g.Specs, ast.Spec(v)) {
			continue
		}
		for _, c := range g.Doc.List {
			if strings.HasPrefix(c.Text, "//go:embed ") {
				return true
			}
		}
	}
	return false
}

// changed returns the identifiers whose value some statement changes, or
// whose address it takes.
func changed(f *ast.File) []*ast.Ident {
	var ids []*ast.Ident
	add := func(e ast.Expr) {
		if id := rootOf(e); id != nil {
			ids = append(ids, id)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					add(e)
				}
			}
		case *ast.IncDecStmt:
			add(n.X)
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(n.Args) > 0 {
				add(n.Args[0])
			}
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				add(n.Key)
				add(n.Value)
			}
		}
		return true
	})
	return ids
}

// rootOf returns the variable that x.f, x[i] and *x belong to.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}
