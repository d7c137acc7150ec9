package resolve

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// count adds to the base what both sides have added to it.
func (p *pair) count() verdict {
	base := p.base
	if base == "" {
		base = "0"
	}
	numbers := kindOf(p.local) == kindNumber && kindOf(p.remote) == kindNumber && kindOf(base) == kindNumber
	if p.based && numbers {
		if total, ok := sum(p.local, p.remote, base); ok {
			v := p.taken(total, ruleCounter)
			v.stamp, v.lossless = later(p.localAt, p.remoteAt), true
			return v
		}
	}
	if p.oneSided() {
		return p.takeChanged()
	}
	v := p.newer()
	v.rule, v.undecided = ruleUndecided, true
	return v
}

// unite takes the elements of both arrays.
func (p *pair) unite() verdict {
	isLocal, isRemote := kindOf(p.local) == kindArray, kindOf(p.remote) == kindArray
	switch {
	case isLocal && isRemote:
		return p.uniteArrays()
	case p.oneSided():
		return p.takeChanged()
	case !isLocal && !isRemote:
		v := p.newer()
		v.rule, v.undecided = ruleUndecided, true
		return v
	}
	v := p.takeLocal(ruleUnion)
	if isRemote {
		v = p.takeRemote(ruleUnion)
	}
	v.stamp = later(p.localAt, p.remoteAt)
	if kindOf(p.local) != kindNull && kindOf(p.remote) != kindNull {
		v.rule, v.undecided = ruleUndecided, true
	}
	return v
}

func (p *pair) uniteArrays() verdict {
	local, remote := elementsOf(p.local), elementsOf(p.remote)
	if local.holds(remote) && remote.holds(local) {
		v := p.newer() // the order of the elements
		v.rule, v.lossless = ruleUnion, true
		return v
	}
	var base elements
	if p.based && kindOf(p.base) == kindArray {
		base = elementsOf(p.base)
	}
	var kept []element
	for _, e := range local.list {
		if remote.has(e) || !base.has(e) {
			kept = append(kept, e)
		}
	}
	for _, e := range remote.list {
		if !local.has(e) && !base.has(e) {
			kept = append(kept, e)
		}
	}
	v := verdict{choice: ChoseBoth, rule: ruleUnion}
	switch {
	case slices.Equal(kept, local.list):
		v = p.takeLocal(ruleUnion)
	case slices.Equal(kept, remote.list):
		v = p.takeRemote(ruleUnion)
	default:
		v.raw = writeArray(kept)
	}
	v.stamp, v.lossless = later(p.localAt, p.remoteAt), true
	return v
}

// element is a value of an array, in its canonical form and as it is written.
type element struct{ canonical, raw string }

// elements are the values of an array as a set, in the order of their first
// appearance.
type elements struct {
	list  []element
	known map[string]bool
}

func elementsOf(array string) elements {
	s := elements{known: map[string]bool{}}
	gjson.Parse(array).ForEach(func(_, value gjson.Result) bool {
		e := element{canonical(value.Raw), value.Raw}
		if !s.has(e) {
			s.known[e.canonical] = true
			s.list = append(s.list, e)
		}
		return true
	})
	return s
}

func (s *elements) has(e element) bool { return s.known[e.canonical] }

func (s *elements) holds(t elements) bool {
	return !slices.ContainsFunc(t.list, func(e element) bool { return !s.has(e) })
}

func writeArray(list []element) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, e := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(e.raw)
	}
	b.WriteByte(']')
	return b.String()
}
