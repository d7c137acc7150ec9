package resolve

import (
	"maps"
	"time"
)

// eden decides by the rules of Sahana Eden, as the line of Compat has them.
// A record that is imported states the fields it has, and no others.
func (w *work) eden() {
	in := w.in
	w.remote.at = in.Remote.Modified
	if w.remote.at.Time.IsZero() {
		w.remote.at = At(in.Now)
	}
	if !in.Local.exists() {
		w.edenCreate()
		return
	}
	w.out.Conflict = w.compat == Eden && modifiedSince(w.local.at.Time, in.LastSync) && modifiedSince(w.remote.at.Time, in.LastSync)
	w.edenFields()
	if w.out.Conflict && !w.accepts() {
		w.settle(fate{})
		w.refuse()
		return
	}
	if in.Remote.Deleted {
		w.edenDelete()
		return
	}
	w.edenUpdate()
}

func modifiedSince(at, lastSync time.Time) bool { return !lastSync.IsZero() && !at.Before(lastSync) }

// edenCreate takes over a new record, without the fields that master withholds.
func (w *work) edenCreate() {
	w.adopt(ActionCreate, ruleCreate, "the record is new here")
	if !w.createByMaster || w.in.Remote.MCI == 1 {
		return
	}
	for i := range w.remote.fields {
		f := &w.remote.fields[i]
		o := outcome{pair: pair{name: f.name, key: f.key, remote: f.raw, remoteSays: true, remoteChanged: true}, differs: true}
		o.verdict = verdict{choice: ChoseRemote, raw: f.raw}
		if w.rule(f.name).name == Master {
			o.verdict = o.keepByRight(ruleMaster)
			w.out.Fields = append(w.out.Fields, Decision{Field: f.name, Choice: ChoseLocal, Rule: ruleMaster})
			w.lose(&o, ChoseRemote, ruleMaster)
		}
		w.outcomes = append(w.outcomes, o)
	}
	if withheld := len(w.out.Fields); withheld > 0 && withheld == len(w.remote.fields) {
		out := w.out
		w.keep(ActionSkip, ruleWithheld, "the record was not sent by its owner, and master withholds all of its fields")
		w.out.Fields, w.out.Losers = out.Fields, out.Losers
		return
	}
	w.out.Data = w.splice()
}

// edenFields decides on each imported field that differs; the others stay.
func (w *work) edenFields() {
	for i := range w.local.fields {
		f := &w.local.fields[i]
		theirs, _ := w.remote.get(f.name)
		w.edenField(f, f.raw, theirs)
	}
	for i := range w.remote.fields {
		if f := &w.remote.fields[i]; w.local.find(f.name) < 0 {
			w.edenField(f, "", f.raw)
		}
	}
}

func (w *work) edenField(f *field, local, remote string) {
	o := outcome{pair: pair{name: f.name, key: f.key, local: local, remote: remote}}
	w.compareWithBase(&o.pair)
	o.remoteAt = w.remote.at
	if remote == "" || equal(local, remote) {
		o.verdict = o.takeLocal(ruleEqual)
	} else {
		o.differs = true
		o.verdict = w.edenDecide(&o.pair, w.rule(f.name).name)
	}
	w.outcomes = append(w.outcomes, o)
}

// edenDecide applies a resolution; all look at the record's time and mci.
func (w *work) edenDecide(p *pair, name Resolution) verdict {
	local, remote := w.in.Local.MCI, w.in.Remote.MCI
	switch name {
	case Other:
		return p.takeRemote(ruleOther)
	case Newer:
		return w.edenNewer(p, ruleNewer)
	case Master:
		if local != 0 && remote == 1 {
			return p.takeRemote(ruleMaster)
		}
		return p.takeLocal(ruleMaster)
	case MasterCopy:
		switch {
		case local == 0 || remote == 0 || local < remote:
			return p.takeLocal(ruleMasterCopy)
		case local == remote:
			return w.edenNewer(p, ruleMasterCopy)
		}
		return p.takeRemote(ruleMasterCopy)
	}
	return p.takeLocal(ruleThis)
}

// edenNewer takes the imported value unless the local record is newer.
func (w *work) edenNewer(p *pair, rule string) verdict {
	switch c := w.local.at.Time.Compare(w.remote.at.Time); {
	case c > 0:
		return p.takeLocal(rule)
	case c == 0:
		return p.takeRemote(ruleTie)
	}
	return p.takeRemote(rule)
}

// edenKeeps reports whether the policy for the record as a whole keeps it as
// it is.
func (w *work) edenKeeps() (rule string, keeps bool) {
	l, r := &w.in.Local, &w.in.Remote
	switch w.record.name {
	case Newer:
		return ruleNewer, w.local.at.Time.After(w.remote.at.Time)
	case Master:
		return ruleMaster, l.MCI == 0 || r.MCI != 1
	}
	return ruleThis, false
}

// edenDelete applies a deletion; a merge is one that names the survivor.
func (w *work) edenDelete() {
	l := &w.in.Local
	rule, keeps := w.edenKeeps()
	switch {
	case l.Deleted:
		w.keep(ActionSkip, ruleEqual, "the record is deleted already")
		return
	case keeps || w.record.name == This:
		conflict := w.out.Conflict
		w.keep(ActionSkip, rule, "the policy keeps the local record")
		w.out.Conflict, w.out.SendBack = conflict, true
		w.loseDeletion(ChoseRemote, rule)
		return
	}
	for i := range w.outcomes {
		if o := &w.outcomes[i]; o.localChanged {
			w.lose(o, ChoseLocal, ruleDelete)
		}
	}
	losers, conflict := w.out.Losers, w.out.Conflict
	w.keep(ActionDelete, ruleDelete, "deleted on the remote side")
	if w.in.Remote.ReplacedBy != "" {
		w.out.Action = ActionMerge
	}
	w.out.Losers, w.out.Conflict, w.out.Restamp = losers, conflict, true
	w.out.Deleted, w.out.ReplacedBy, w.out.Modified = true, w.in.Remote.ReplacedBy, At(w.in.Now)
}

// edenUpdate applies what was decided on the fields.
func (w *work) edenUpdate() {
	l := &w.in.Local
	if rule, keeps := w.edenKeeps(); keeps && l.Deleted && w.compat == Eden {
		conflict := w.out.Conflict
		w.keep(ActionSkip, rule, "the record is deleted here, and the policy keeps it so")
		w.out.Conflict = conflict
		return
	}
	future, conflict := w.out.Future, w.out.Conflict
	w.out = Result{Future: future}
	w.settle(fate{})
	fields, losers := w.out.Fields, w.out.Losers
	w.keep(ActionNothing, ruleNothing, "nothing is taken from the remote side")
	out := &w.out
	out.Fields, out.Losers, out.Conflict = fields, losers, conflict
	w.explain(w.edenTake())
	if l.Deleted {
		out.Action, out.Rule, out.Reason = ActionUpdate, ruleRevive, "deleted here and edited on the remote side"
		out.Deleted, out.ReplacedBy, out.Modified = false, "", later(out.Modified, w.remote.at)
	}
	if w.overwriteMCI {
		out.MCI = w.in.Remote.MCI
	}
	out.Restamp = out.Modified.Compare(l.Modified) != 0 || out.MCI != l.MCI || out.Deleted != l.Deleted
}

// edenTake writes the record that results, and reports whether it differs
// from the stored one. Its time becomes the imported one, even an older.
func (w *work) edenTake() bool {
	out, kept, taken := &w.out, false, false
	for i := range w.outcomes {
		o := &w.outcomes[i]
		taken = taken || o.choice == ChoseRemote
		kept = kept || o.choice == ChoseLocal && o.raw != o.remote
	}
	out.SendBack = kept
	if !taken {
		return false
	}
	out.Action, out.Data, out.Modified = ActionUpdate, w.splice(), w.remote.at
	if len(out.Times) > 0 {
		times := maps.Clone(out.Times)
		for i := range w.outcomes {
			if o := &w.outcomes[i]; o.choice == ChoseRemote {
				times[o.name] = o.stamp
			}
		}
		out.Times = times
	}
	return true
}
