package resolve

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// clock holds the times of one side as they count.
type clock struct {
	at          Stamp
	times, seen Times
}

// readTimes brings the times of both sides up to what counts. Under Strict a
// time ahead of now by more than the tolerance counts as now, or as just after
// the latest time that is believed; what is ahead keeps its order. Eden
// believes every time.
func (w *work) readTimes() {
	in := w.in
	w.local.clock = clock{in.Local.Modified, in.Local.Times, in.Local.Seen}
	w.remote.clock = clock{in.Remote.Modified, in.Remote.Times, in.Remote.Seen}
	limit := in.Now.Add(w.tolerance)
	var ahead []Stamp
	latest := Stamp{Time: in.Now}
	for _, c := range [...]*clock{&w.local.clock, &w.remote.clock} {
		c.each(func(at Stamp) {
			if at.Time.After(limit) {
				ahead = append(ahead, at)
			} else {
				latest = later(latest, at)
			}
		})
	}
	if len(ahead) == 0 {
		return
	}
	w.reportFuture(ChoseLocal, w.local.clock, limit)
	w.reportFuture(ChoseRemote, w.remote.clock, limit)
	if w.compat != Strict {
		return
	}
	slices.SortFunc(ahead, Stamp.Compare)
	ahead = slices.CompactFunc(ahead, func(a, b Stamp) bool { return a.Compare(b) == 0 })
	w.local.correct(ahead, latest)
	w.remote.correct(ahead, latest)
}

// each calls fn for every stamp.
func (c *clock) each(fn func(Stamp)) {
	fn(c.at)
	for _, at := range c.times {
		fn(at)
	}
	for _, at := range c.seen {
		fn(at)
	}
}

// correct replaces the stamps that are ahead by such as follow latest.
func (c *clock) correct(ahead []Stamp, latest Stamp) {
	corrected := func(at Stamp) Stamp {
		if i, found := slices.BinarySearchFunc(ahead, at, Stamp.Compare); found {
			return Stamp{Time: latest.Time, Counter: latest.Counter + uint32(i) + 1, Node: at.Node}
		}
		return at
	}
	c.at, c.times, c.seen = corrected(c.at), maps.Clone(c.times), maps.Clone(c.seen)
	for _, times := range [...]Times{c.times, c.seen} {
		for name, at := range times {
			times[name] = corrected(at)
		}
	}
}

// reportFuture lists the times of a side that are ahead.
func (w *work) reportFuture(side Choice, c clock, limit time.Time) {
	if c.at.Time.After(limit) {
		w.out.Future = append(w.out.Future, FutureTime{Side: side, Stamp: c.at})
	}
	for _, name := range slices.Sorted(maps.Keys(c.times)) {
		if at := c.times[name]; at.Time.After(limit) {
			w.out.Future = append(w.out.Future, FutureTime{Side: side, Field: name, Stamp: at})
		}
	}
}

// strict decides by our own rules.
func (w *work) strict() {
	in := w.in
	if !in.Local.exists() {
		w.adopt(ActionCreate, ruleCreate, "the record is new here")
		return
	}
	w.joinFields()
	f := w.fate()
	w.settle(f)
	if w.out.Conflict && !w.accepts() {
		w.refuse()
		return
	}
	w.stamp(f)
	w.conclude(f)
}

// joinFields decides on every field that a side has.
func (w *work) joinFields() {
	local, remote := &w.local.object, &w.remote.object
	w.outcomes = slices.Grow(w.outcomes, len(local.fields)+len(remote.fields))
	both := 0
	for i := range local.fields {
		f := &local.fields[i]
		j := i
		if j >= len(remote.fields) || remote.fields[j].name != f.name {
			j = remote.find(f.name)
		}
		theirs := ""
		if j >= 0 {
			theirs = remote.fields[j].raw
			both++
		}
		w.joinField(f, f.raw, theirs)
	}
	if both == len(remote.fields) {
		return
	}
	for i := range remote.fields {
		if f := &remote.fields[i]; local.find(f.name) < 0 {
			w.joinField(f, "", f.raw)
		}
	}
}

func (w *work) joinField(f *field, local, remote string) {
	// The memory behind the slice is there and empty.
	w.outcomes = w.outcomes[:len(w.outcomes)+1]
	o := &w.outcomes[len(w.outcomes)-1]
	o.name, o.key, o.local, o.remote = f.name, f.key, local, remote
	rule := w.rule(f.name)
	same := equal(local, remote)
	if !same || rule.name == Counter {
		w.compareWithBase(&o.pair)
	} else {
		w.readStamps(&o.pair)
	}
	if same && (rule.name != Counter || !o.based || equal(local, o.base)) {
		o.verdict = o.takeLocal(ruleEqual)
		if rule.name != Older {
			o.stamp = later(o.localAt, o.remoteAt)
		} else if o.remoteAt.Compare(o.localAt) < 0 {
			o.stamp = o.remoteAt
		}
		return
	}
	o.verdict, o.differs = w.decide(&o.pair, rule), true
}

// readStamps finds the times of a field, and reports which sides have it by
// name.
func (w *work) readStamps(p *pair) (local, remote bool) {
	p.localAt, p.remoteAt = w.local.at, w.remote.at
	if len(w.local.times) > 0 {
		var at Stamp
		if at, local = w.local.times[p.name]; local {
			p.localAt = at
		}
	}
	if len(w.remote.times) > 0 {
		var at Stamp
		if at, remote = w.remote.times[p.name]; remote {
			p.remoteAt = at
		}
	}
	return local, remote
}

// compareWithBase finds out what each side has done to a field.
func (w *work) compareWithBase(p *pair) {
	in := w.in
	localNamed, remoteNamed := w.readStamps(p)
	var had bool
	p.based = len(in.Base) > 0
	p.base, had = w.base.get(p.name)
	p.localSays = in.Local.says() && (p.local != "" || localNamed || had && !in.Local.Partial)
	p.remoteSays = in.Remote.says() && (p.remote != "" || remoteNamed || had && !in.Remote.Partial)
	p.timed = localNamed && remoteNamed &&
		in.Local.Times[p.name].Compare(p.localAt) == 0 && in.Remote.Times[p.name].Compare(p.remoteAt) == 0
	p.localChanged = p.localSays && w.changed(p, p.local, p.localAt)
	p.remoteChanged = p.remoteSays && w.changed(p, p.remote, p.remoteAt)
}

// changed reports whether a value is, or may be, an edit since the base.
func (w *work) changed(p *pair, value string, at Stamp) bool {
	if p.based {
		return !equal(value, p.base)
	}
	return w.in.LastSync.IsZero() || !at.Time.Before(w.in.LastSync)
}

// canTell reports whether it is known since when edits count.
func (w *work) canTell() bool { return len(w.in.Base) > 0 || !w.in.LastSync.IsZero() }

// settle lists the decisions, the losers and whether there is a conflict.
func (w *work) settle(f fate) {
	for i := range w.outcomes {
		o := &w.outcomes[i]
		if !o.differs {
			continue
		}
		contested := o.localChanged && o.remoteChanged && !o.lossless
		conflict := o.undecided || contested && w.canTell()
		w.out.Conflict = w.out.Conflict || conflict
		w.out.Fields = append(w.out.Fields, Decision{Field: o.name, Choice: o.choice, Rule: o.rule, Conflict: conflict})
		if o.lossless {
			continue
		}
		if o.localChanged && o.choice != ChoseLocal && f.buried != ChoseLocal {
			w.lose(o, ChoseLocal, o.rule)
		}
		if o.remoteChanged && o.choice != ChoseRemote && f.buried != ChoseRemote {
			w.lose(o, ChoseRemote, o.rule)
		}
	}
	if f.buried != "" {
		w.bury(f)
	}
	if f.revived != "" {
		w.loseDeletion(f.revived, f.rule)
	}
	w.out.Conflict = w.out.Conflict || f.contested && w.canTell()
}

// bury lists every edit of a side that goes with the record.
func (w *work) bury(f fate) {
	for i := range w.outcomes {
		o := &w.outcomes[i]
		if o.differs && (f.buried == ChoseLocal && o.localChanged || f.buried == ChoseRemote && o.remoteChanged) {
			w.lose(o, f.buried, f.rule)
		}
	}
}

func (w *work) lose(o *outcome, side Choice, rule string) {
	at := o.localAt
	if side == ChoseRemote {
		at = o.remoteAt
	}
	w.out.Losers = append(w.out.Losers, Loser{Field: o.name, Side: side, Stamp: at, Local: bytesOf(o.local), Remote: bytesOf(o.remote), Rule: rule})
}

func (w *work) loseDeletion(side Choice, rule string) {
	at := w.local.at
	if side == ChoseRemote {
		at = w.remote.at
	}
	w.out.Losers = append(w.out.Losers, Loser{Deletion: true, Side: side, Stamp: at, Local: w.in.Local.Data, Remote: w.in.Remote.Data, Rule: rule})
}

// accepts applies the conflict policy.
func (w *work) accepts() bool {
	l, r := &w.in.Local, &w.in.Remote
	switch w.conflict {
	case "", AcceptFields, AcceptOther:
		return true
	case AcceptNewer:
		return !w.local.at.Time.After(w.remote.at.Time)
	case AcceptMaster:
		if w.compat == Strict {
			return r.MCI == 1 && l.MCI != 0
		}
		return r.MCI == 1 || l.MCI == 0
	}
	return false
}

// refuse keeps the local version; every edit of the remote one is a loser.
func (w *work) refuse() {
	fields := w.out.Fields
	w.keep(ActionConflict, ruleConflict, "both sides have changed the record since they last met, and the policy leaves it to a person")
	w.out.Conflict, w.out.SendBack, w.out.Fields = true, false, fields
	for i := range fields {
		fields[i].Choice, fields[i].Rule = ChoseLocal, ruleConflict
	}
	if w.in.Remote.Deleted {
		w.loseDeletion(ChoseRemote, ruleConflict)
		return
	}
	for i := range w.outcomes {
		if o := &w.outcomes[i]; o.differs && o.remoteChanged {
			w.lose(o, ChoseRemote, ruleConflict)
		}
	}
}

// stamp finds data and times of the result.
func (w *work) stamp(f fate) {
	l, r, out := &w.in.Local, &w.in.Remote, &w.out
	out.Data, out.Modified, out.Times, out.MCI = l.Data, w.local.at, w.local.times, l.MCI
	out.Seen = Join(w.local.seen, w.remote.seen)
	kept, taken, byRight := 0, 0, false
	for i := range w.outcomes {
		if o := &w.outcomes[i]; o.differs {
			if o.choice != ChoseLocal {
				taken++
			}
			if o.choice != ChoseRemote {
				kept++
			}
			byRight = byRight || o.byRight
		}
	}
	if taken > 0 {
		out.Data = w.splice()
	}
	out.SendBack = f.deleted != r.Deleted || !f.deleted && kept > 0
	if byRight && taken == 0 && l.Deleted == r.Deleted {
		return
	}
	out.Modified = f.at
	if w.local.times != nil || w.remote.times != nil || taken > 0 && kept > 0 {
		out.Times = w.buildTimes()
	}
	for i := range w.outcomes {
		out.Modified = later(out.Modified, w.outcomes[i].stamp)
	}
}

// buildTimes gathers the times of the result's fields.
func (w *work) buildTimes() Times {
	times := make(Times, len(w.outcomes))
	if w.in.Local.says() {
		maps.Copy(times, w.local.times)
	}
	if w.in.Remote.says() {
		for name, at := range w.remote.times {
			times[name] = later(times[name], at)
		}
	}
	for i := range w.outcomes {
		times[w.outcomes[i].name] = w.outcomes[i].stamp
	}
	if times.same(w.in.Local.Times) {
		return w.in.Local.Times
	}
	return times
}

// conclude names action and rule, and says what else is to be stored.
func (w *work) conclude(f fate) {
	l, out := &w.in.Local, &w.out
	changed := slices.ContainsFunc(out.Fields, func(d Decision) bool { return d.Choice != ChoseLocal })
	out.Deleted, out.ReplacedBy = f.deleted, f.replacedBy
	out.Rule, out.Reason = f.rule, f.reason
	switch {
	case f.deleted && l.Deleted:
		out.Action = ActionNothing
	case f.deleted && f.replacedBy != "":
		out.Action = ActionMerge
	case f.deleted:
		out.Action = ActionDelete
	case l.Deleted:
		out.Action = ActionUpdate
	case changed:
		out.Action = ActionUpdate
	default:
		out.Action = ActionNothing
	}
	if out.Rule == "" {
		w.explain(changed)
	}
	out.Restamp = out.Modified.Compare(l.Modified) != 0 || !out.Times.same(l.Times) || !out.Seen.same(l.Seen) ||
		out.Deleted != l.Deleted || out.ReplacedBy != l.ReplacedBy
}

// explain names the rule of two live records.
func (w *work) explain(changed bool) {
	out := &w.out
	switch {
	case len(out.Fields) == 0:
		out.Rule, out.Reason = ruleEqual, reasonEqual
	case !changed:
		out.Rule, out.Reason = ruleNothing, "nothing is taken from the remote side"
	default:
		taken := 0
		for _, d := range out.Fields {
			if d.Choice != ChoseLocal {
				taken++
			}
		}
		out.Rule = ruleFields
		out.Reason = strconv.Itoa(taken) + " of the fields that differ (" + strconv.Itoa(len(out.Fields)) + ") get another value"
	}
}

// splice writes the fields of the result as they were written by the side
// they come from.
func (w *work) splice() []byte {
	size, count, theirs := 2, 0, true
	for i := range w.outcomes {
		o := &w.outcomes[i]
		theirs = theirs && o.raw == o.remote
		if o.raw != "" {
			size += len(o.key) + len(o.raw) + 2
			count++
		}
	}
	if theirs && count == len(w.remote.fields) && len(w.in.Remote.Data) > 0 {
		return w.in.Remote.Data
	}
	data := append(make([]byte, 0, size), '{')
	for i := range w.outcomes {
		o := &w.outcomes[i]
		if o.raw == "" {
			continue
		}
		if len(data) > 1 {
			data = append(data, ',')
		}
		data = append(append(append(data, o.key...), ':'), o.raw...)
	}
	return append(data, '}')
}
