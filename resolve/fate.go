package resolve

import "strings"

// fate says whether a record that both sides know is deleted.
type fate struct {
	deleted    bool
	replacedBy string
	// at is the time of the record.
	at Stamp
	// rule and reason; empty if both sides are live.
	rule, reason string
	// buried is the side whose edits go with the record, revived the one whose
	// deletion is not followed; empty if there is none.
	buried, revived Choice
	contested       bool
}

// fate decides between a deletion and edits.
func (w *work) fate() fate {
	l, r := &w.in.Local, &w.in.Remote
	f := fate{deleted: l.Deleted, at: later(w.local.at, w.remote.at)}
	if l.Deleted != r.Deleted {
		return w.deletionOrEdit(f)
	}
	if w.deletes == EditWins && w.dated() {
		f.deleted = w.covered()
	}
	switch {
	case l.Deleted && f.deleted:
		f.rule, f.reason = ruleEqual, "both sides have deleted the record"
	case l.Deleted:
		f.rule, f.reason = ruleEditWins, "there are edits that nobody knew who deleted the record"
	case f.deleted:
		f.rule, f.reason = ruleDelete, "every edit was known to somebody who deleted the record"
	}
	if f.deleted {
		f.replacedBy = w.successor()
	}
	return f
}

// successor returns the survivor that two tombstones name: of the later one.
func (w *work) successor() string {
	l, r := &w.in.Local, &w.in.Remote
	switch c := w.local.at.Compare(w.remote.at); {
	case c > 0:
		return l.ReplacedBy
	case c < 0:
		return r.ReplacedBy
	}
	return max(l.ReplacedBy, r.ReplacedBy)
}

// deletionOrEdit decides where just one side has deleted the record.
func (w *work) deletionOrEdit(f fate) fate {
	in := w.in
	dead, live, deadSide, liveSide := ChoseLocal, ChoseRemote, &w.local, &w.remote
	if in.Remote.Deleted {
		dead, live, deadSide, liveSide = live, dead, liveSide, deadSide
	}
	deadAt, liveAt := deadSide.at, liveSide.at
	edited := w.edited(live)
	f.contested = edited && !in.BaseDeleted
	switch {
	case w.deletes == DeleteWins:
		f.deleted, f.rule = true, ruleDeleteWins
	case w.deletes == EditWins && w.dated():
		f.deleted, f.rule = w.covered(), ruleEditWins
	case !w.timed() && in.BaseDeleted:
		f.deleted, f.rule, f.at = false, ruleRevive, dominate(liveAt, deadAt)
	case !w.timed() && len(in.Base) > 0 && !edited:
		f.deleted, f.rule, f.at = true, ruleDelete, dominate(deadAt, liveAt)
	case w.deletes == EditWins && edited && w.canTell():
		f.deleted, f.rule, f.at = false, ruleEditWins, dominate(liveAt, deadAt)
	default:
		f.deleted, f.rule = deadAt.Compare(liveAt) >= 0, ruleLaterFate
	}
	if f.deleted {
		f.replacedBy = max(in.Local.ReplacedBy, in.Remote.ReplacedBy)
		if edited {
			f.buried = live
		} else {
			f.rule = ruleDelete
		}
	} else {
		if !in.BaseDeleted {
			f.revived = dead
		}
		if dead == ChoseLocal && !f.contested {
			f.rule = ruleRevive
		}
	}
	f.reason = w.fateReason(&f, dead)
	return f
}

func (w *work) fateReason(f *fate, dead Choice) string {
	var b strings.Builder
	b.WriteString("deleted on the " + string(dead) + " side")
	switch {
	case f.contested:
		b.WriteString(" and edited on the other")
	case f.deleted:
		b.WriteString(" and not edited on the other")
	default:
		b.WriteString(" and edited on the other since")
	}
	if f.deleted {
		b.WriteString(": it is deleted")
	} else {
		b.WriteString(": it stays")
	}
	return b.String()
}

// edited reports whether the live side has edited the record since the base;
// what whoever deleted it has too does not count.
func (w *work) edited(live Choice) bool {
	for i := range w.outcomes {
		o := &w.outcomes[i]
		if o.differs && (live == ChoseLocal && o.localChanged || live == ChoseRemote && o.remoteChanged) {
			return true
		}
	}
	return false
}

// dated reports whether both sides keep the times of their fields.
func (w *work) dated() bool { return w.in.Local.Times != nil && w.in.Remote.Times != nil }

// timed reports whether both sides keep the times of their fields, and no
// time of the record had to be corrected.
func (w *work) timed() bool {
	l, r := &w.in.Local, &w.in.Remote
	return l.Times != nil && r.Times != nil &&
		l.Modified.Compare(w.local.at) == 0 && r.Modified.Compare(w.remote.at) == 0
}

// covered reports whether every edit of either side was known to somebody who
// deleted the record.
func (w *work) covered() bool {
	seen := Join(w.local.seen, w.remote.seen)
	deleted := len(seen) > 0 || w.in.Local.Deleted || w.in.Remote.Deleted
	return deleted && knows(seen, w.local.times) && knows(seen, w.remote.times)
}

// knows reports whether no time is later than the one in seen.
func knows(seen, times Times) bool {
	for name, at := range times {
		if seen[name].Compare(at) < 0 {
			return false
		}
	}
	return true
}
