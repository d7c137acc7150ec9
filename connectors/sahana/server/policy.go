package server

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/resolve"
)

// Task says what a repository may do to a table, and whose version wins. This
// is the server's side, and other the repository's.
type Task struct {
	// Strategy lists create, update, delete and merge; nil means all.
	Strategy []string
	// Update is THIS, OTHER, NEWER or MASTER, in any case. Defaults to NEWER.
	Update string
	// Fields are update policies by field.
	Fields map[string]string
	// Conflict is one of the same, for records that both sides have changed
	// since they last met. Defaults to NEWER.
	Conflict string
}

const (
	policyThis   = "this"
	policyOther  = "other"
	policyNewer  = "newer"
	policyMaster = "master"
)

// compile checks a task as a configuration has it.
func (t *Task) compile(table string) (*resolve.Resolver, error) {
	if !isTableName(table) {
		return nil, gapless.Errorf(gapless.CodeInvalidOption, table, "this is no name of a table").WithHint("write prefix_name, such as org_organisation")
	}
	known := []string{policyThis, policyOther, policyNewer, policyMaster}
	for _, name := range slices.AppendSeq([]string{t.Update, t.Conflict}, maps.Values(t.Fields)) {
		if name != "" && !slices.Contains(known, strings.ToLower(name)) {
			return nil, gapless.Errorf(gapless.CodeInvalidOption, table, "policy %q is not one of THIS, OTHER, NEWER and MASTER", name)
		}
	}
	for _, name := range t.Strategy {
		if !slices.Contains(methods(), resolve.Method(name)) {
			return nil, gapless.Errorf(gapless.CodeInvalidOption, table, "strategy %q is not one of create, update, delete and merge", name)
		}
	}
	return t.resolver()
}

func methods() []resolve.Method {
	return []resolve.Method{resolve.Create, resolve.Update, resolve.Remove, resolve.Merge}
}

func (t *Task) resolver() (*resolve.Resolver, error) {
	p := resolve.Policy{Compat: resolve.Eden, Conflict: resolve.ConflictPolicy(or(t.Conflict, policyNewer))}
	update := resolve.Resolution(or(t.Update, policyNewer))
	if len(t.Fields) == 0 {
		p.Resolution = update
	} else {
		p.Default, p.Fields = update, map[string]resolve.Resolution{}
		for field, name := range t.Fields {
			p.Fields[field] = resolve.Resolution(strings.ToLower(name))
		}
	}
	if t.Strategy != nil {
		p.Strategy = []resolve.Method{}
		for _, name := range t.Strategy {
			p.Strategy = append(p.Strategy, resolve.Method(name))
		}
	}
	return resolve.Compile(p)
}

func or(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return strings.ToLower(name)
}

// plainPolicy is that of imports by REST: what is sent counts.
func plainPolicy() (*resolve.Resolver, error) {
	return (&Task{Update: policyOther, Conflict: policyOther}).resolver()
}

// pushPolicy is what a repository asks for itself. Its this is the server's
// other. Methods and policies that there are not are passed over, and no word
// about conflicts means that none is refused.
func pushPolicy(q url.Values) (*resolve.Resolver, error) {
	t := Task{Update: swapped(q.Get("update_policy"), policyNewer), Conflict: swapped(q.Get("conflict_policy"), policyOther)}
	if list := q.Get("strategy"); list != "" {
		t.Strategy = []string{}
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); slices.Contains(methods(), resolve.Method(name)) {
				t.Strategy = append(t.Strategy, name)
			}
		}
	}
	return t.resolver()
}

func swapped(name, otherwise string) string {
	switch name = strings.ToLower(name); name {
	case policyThis:
		return policyOther
	case policyOther:
		return policyThis
	case policyNewer, policyMaster:
		return name
	}
	return otherwise
}
