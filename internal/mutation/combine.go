package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// activeVariable names the mutant that is in force in a program that has many
// of them.
const activeVariable = "GAPLESS_MUTANT"

// activeFile declares, in each package that is changed, which mutant that is.
const activeFile = "mutant_active.go"

func activeSource(name string) string {
	return "package " + name + "\n\nimport \"os\"\n\n// activeMutant is the one in force.\nvar activeMutant = os.Getenv(\"" + activeVariable + "\")\n"
}

// combined returns the files below the module that make one program of several
// mutants, none of them in force unless the environment says so, and those
// mutants that cannot be a part of it, because they do not lie within one
// function. read returns a file as it is.
func combined(list []mutant, read func(file string) (string, error)) (files map[string]string, rest []mutant, err error) {
	files = map[string]string{}
	byFile := map[string][]mutant{}
	for _, m := range list {
		byFile[m.File] = append(byFile[m.File], m)
	}
	for name, mutants := range byFile {
		source, err := read(name)
		if err != nil {
			return nil, nil, err
		}
		f, err := parseFile(name, source)
		if err != nil {
			return nil, nil, err
		}
		var edits []edit
		for _, m := range mutants {
			own, err := f.dispatch(&m)
			if err != nil {
				rest = append(rest, m)
				continue
			}
			edits = append(edits, own...)
		}
		if len(edits) > 0 {
			files[name] = spliced(source, edits)
			files[path.Join(path.Dir(name), activeFile)] = activeSource(f.Name.Name)
		}
	}
	return files, rest, nil
}

// file is a parsed file with its text.
type file struct {
	*ast.File
	text string
	set  *token.FileSet
}

func parseFile(name, text string) (*file, error) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &file{f, text, set}, nil
}

func (f *file) offset(p token.Pos) int { return f.set.Position(p).Offset }

// around returns the function that the text from one offset to another lies in.
func (f *file) around(from, to int) (*ast.FuncDecl, error) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil && f.offset(fn.Pos()) <= from && to <= f.offset(fn.End()) {
			return fn, nil
		}
	}
	return nil, errors.New("not within a function")
}

// edit puts text in the place of others.
type edit struct {
	from, to int
	text     string
}

// spliced carries out edits, those at the same place in their order, and each
// once.
func spliced(source string, edits []edit) string {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Or(a.from-b.from, a.to-b.to) })
	edits = slices.Compact(edits)
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(source[at:e.from])
		b.WriteString(e.text)
		at = e.to
	}
	return b.String() + source[at:]
}

// dispatch returns what adds a mutant to the file: its function once more, as it
// is mutated and under another name, and a branch to that in the original.
func (f *file) dispatch(m *mutant) ([]edit, error) {
	changed, err := m.apply(f.text)
	if err != nil {
		return nil, err
	}
	from := strings.Index("\n"+f.text, "\n"+m.Old)
	original, err := f.around(from, from+len(m.Old))
	if err != nil {
		return nil, err
	}
	g, err := parseFile(m.File, changed)
	if err != nil {
		return nil, err
	}
	mutated, err := g.around(from, from+len(m.New))
	if err != nil {
		return nil, err
	}
	name := original.Name.Name + "Mutant" + notInNames.ReplaceAllString(m.ID, "_")
	copied := spliced(changed[g.offset(mutated.Pos()):g.offset(mutated.End())], []edit{{
		g.offset(mutated.Name.Pos()) - g.offset(mutated.Pos()), g.offset(mutated.Name.End()) - g.offset(mutated.Pos()), name,
	}})
	edits, call := f.call(original, name)
	branch := fmt.Sprintf(" if activeMutant == %q { %s; return }; ", m.ID, call)
	if original.Type.Results != nil {
		branch = fmt.Sprintf(" if activeMutant == %q { return %s }; ", m.ID, call)
	}
	at := f.offset(original.Body.Lbrace) + 1
	return append(edits, edit{at, at, branch}, edit{len(f.text), len(f.text), "\n" + copied + "\n"}), nil
}

// notInNames are what identifiers do not have.
var notInNames = regexp.MustCompile(`[^A-Za-z0-9]`)

// call returns a call of another function or method with everything that a
// function was called with, and what gives names to parameters without one.
func (f *file) call(fn *ast.FuncDecl, name string) (edits []edit, call string) {
	var args []string
	named := func(field *ast.Field) {
		if len(field.Names) == 0 {
			at := f.offset(field.Type.Pos())
			argument := "mutantArgument" + strconv.Itoa(at)
			edits = append(edits, edit{at, at, argument + " "})
			args = append(args, argument)
		}
		for _, n := range field.Names {
			argument := n.Name
			if argument == "_" {
				argument = "mutantArgument" + strconv.Itoa(f.offset(n.Pos()))
				edits = append(edits, edit{f.offset(n.Pos()), f.offset(n.End()), argument})
			}
			args = append(args, argument)
		}
		if _, variadic := field.Type.(*ast.Ellipsis); variadic {
			args[len(args)-1] += "..."
		}
	}
	receiver := ""
	if fn.Recv != nil {
		named(fn.Recv.List[0])
		receiver, args = args[0]+".", nil
	}
	for _, field := range fn.Type.Params.List {
		named(field)
	}
	return edits, receiver + name + "(" + strings.Join(args, ", ") + ")"
}
