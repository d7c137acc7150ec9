package resolve

import (
	"strings"

	"github.com/expr-lang/expr/vm"
)

// fieldRule is a compiled [Resolution].
type fieldRule struct {
	name    Resolution
	program *vm.Program
	// implied: nobody chose it.
	implied bool
}

// pair is one field as both sides have it. Values are raw JSON, empty where
// there is none.
type pair struct {
	name, key           string
	local, remote, base string
	// localSays and remoteSays: the side has the field, or has removed it.
	localSays, remoteSays bool
	localAt, remoteAt     Stamp
	// timed: both sides keep the time of this very field.
	timed bool
	// based: it is known what the sides last had in common.
	based bool
	// localChanged and remoteChanged: the side has edited the field since
	// then; without a base, it may have.
	localChanged, remoteChanged bool
}

// oneSided reports whether it is known that just one side edited the field.
func (p *pair) oneSided() bool { return p.based && p.localChanged != p.remoteChanged }

// verdict is what was decided on a field.
type verdict struct {
	choice Choice
	raw    string
	stamp  Stamp
	rule   string
	// undecided: the resolution could not tell.
	undecided bool
	// lossless: nothing of either side is lost.
	lossless bool
	// byRight: the local value was kept by right, not by its age or size, so
	// that this says nothing about the remote one.
	byRight bool
}

func (p *pair) takeLocal(rule string) verdict {
	return verdict{choice: ChoseLocal, raw: p.local, stamp: p.localAt, rule: rule}
}

func (p *pair) takeRemote(rule string) verdict {
	v := verdict{choice: ChoseRemote, raw: p.remote, stamp: p.remoteAt, rule: rule}
	if p.localSays {
		v.stamp = dominate(p.remoteAt, p.localAt)
	}
	return v
}

// keepByRight keeps the local value whatever the remote one is.
func (p *pair) keepByRight(rule string) verdict {
	v := p.takeLocal(rule)
	v.byRight = true
	return v
}

// takeChanged takes the value of the side that edited the field.
func (p *pair) takeChanged() verdict {
	if p.remoteChanged {
		return p.takeRemote(ruleOneSided)
	}
	v := p.takeLocal(ruleOneSided)
	v.stamp = dominate(p.localAt, p.remoteAt)
	return v
}

// taken turns a value that was made of both into a verdict; one that equals a
// side's is that side's, byte for byte.
func (p *pair) taken(raw, rule string) verdict {
	switch {
	case raw == "" && p.local == "" || raw != "" && equal(raw, p.local):
		return p.takeLocal(rule)
	case raw == "" && p.remote == "" || raw != "" && equal(raw, p.remote):
		return p.takeRemote(rule)
	}
	return verdict{choice: ChoseBoth, raw: raw, stamp: later(p.localAt, p.remoteAt), rule: rule}
}

// decide applies a rule to a field that differs.
func (w *work) decide(p *pair, rule *fieldRule) verdict {
	local, remote := &w.in.Local, &w.in.Remote
	switch rule.name {
	case This:
		if !rule.implied {
			return p.keepByRight(ruleThis)
		}
	case Other:
		if p.remoteSays {
			return p.takeRemote(ruleOther)
		}
		return p.keepByRight(ruleOther)
	case Master:
		if p.remoteSays && remote.MCI == 1 && local.MCI != 0 {
			return p.takeRemote(ruleMaster)
		}
		return p.keepByRight(ruleMaster)
	case MasterCopy:
		switch {
		case local.MCI == 0 || remote.MCI == 0 || local.MCI < remote.MCI || !p.remoteSays:
			return p.keepByRight(ruleMasterCopy)
		case local.MCI > remote.MCI:
			return p.takeRemote(ruleMasterCopy)
		}
	case ByHook:
		return w.askHook(p)
	}
	if rule.program != nil {
		return w.evaluate(p, rule.program)
	}
	switch {
	case !p.localSays:
		return p.takeRemote(ruleUnstated)
	case !p.remoteSays:
		return p.takeLocal(ruleUnstated)
	}
	return p.compare(rule.name)
}

// compare applies the resolutions that look at both values or their ages.
func (p *pair) compare(name Resolution) verdict {
	switch name {
	case This:
		if p.oneSided() {
			return p.takeChanged()
		}
		return p.keepByRight(ruleThis)
	case Older:
		return p.older()
	case Min:
		return p.bySize(ruleMin, func(a, b string) (int, bool) {
			c, sized := order(a, b)
			return -c, sized
		})
	case Max:
		return p.bySize(ruleMax, order)
	case Longest:
		return p.bySize(ruleLongest, orderByLength)
	case Union:
		return p.unite()
	case Counter:
		return p.count()
	}
	return p.newer()
}

// newer takes the value that was written last. The times of the field come
// first; those of the record say less than the base does.
func (p *pair) newer() verdict {
	if !p.timed && p.oneSided() {
		return p.takeChanged()
	}
	switch c := p.localAt.Compare(p.remoteAt); {
	case c > 0:
		return p.takeLocal(ruleNewer)
	case c < 0:
		return p.takeRemote(ruleNewer)
	}
	return p.breakTie()
}

func (p *pair) older() verdict {
	if p.oneSided() {
		return p.takeChanged()
	}
	switch c := p.localAt.Compare(p.remoteAt); {
	case c < 0:
		return p.keepByRight(ruleOlder)
	case c > 0:
		v := p.takeRemote(ruleOlder)
		v.stamp = p.remoteAt
		return v
	}
	return p.breakTie()
}

// breakTie takes the greater value; a value is greater than none.
func (p *pair) breakTie() verdict {
	if strings.Compare(canonical(p.local), canonical(p.remote)) >= 0 {
		return p.takeLocal(ruleTie)
	}
	return p.takeRemote(ruleTie)
}

// bySize takes the value that is greater by the order given. No value, and
// null, give way to any.
func (p *pair) bySize(rule string, greater func(a, b string) (int, bool)) verdict {
	absentLocal, absentRemote := kindOf(p.local) == kindNull, kindOf(p.remote) == kindNull
	var c int
	sized := true
	switch {
	case absentLocal && absentRemote:
		c = len(p.local) - len(p.remote) // null or none
	case absentLocal:
		c = -1
	case absentRemote:
		c = 1
	default:
		c, sized = greater(p.local, p.remote)
	}
	v := p.takeLocal(rule)
	if c < 0 {
		v = p.takeRemote(rule)
	}
	v.stamp = later(p.localAt, p.remoteAt)
	if !sized {
		v.rule, v.undecided = ruleUndecided, true
	}
	return v
}
