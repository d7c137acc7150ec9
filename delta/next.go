package delta

// group is all that the log says about one key.
type group struct {
	record
	key []byte
	// stands: it was added or kept; otherwise only distrusted.
	stands bool
	// unlogged: it stood before with the content of the base, which is not
	// logged.
	unlogged   bool
	distrusted bool
}

// groups joins the entries of each key.
type groups struct {
	from  sorted
	begun bool
	ahead *entry // the first of the next group
	group
}

// advance goes to the next group; false after the last. key is valid until the
// next call.
func (g *groups) advance() (bool, error) {
	var err error
	if !g.begun {
		g.begun = true
		if g.ahead, err = g.from.next(); err != nil {
			return false, err
		}
	}
	if g.ahead == nil {
		return false, nil
	}
	g.group = group{record: record{kh: g.ahead.kh}, key: g.key[:0]}
	for g.ahead != nil && g.ahead.kh == g.kh {
		g.take(g.ahead)
		if g.ahead, err = g.from.next(); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (g *group) take(e *entry) {
	switch {
	case e.kind == kindDistrust:
		g.distrusted = true
	case !g.stands:
		g.stands, g.unlogged = true, e.kind == kindAgain
		g.content, g.key = e.content, append(g.key, e.key...)
	case e.content != g.content:
		g.content = 0
	}
}

// next merges the base table and the log into the next table.
type next struct {
	c      *Comparison
	base   scanner
	groups groups
	out    *tableWriter
}

func (n *next) merge() error {
	inBase, err := n.base.advance()
	if err != nil {
		return err
	}
	inLog, err := n.groups.advance()
	for err == nil && (inBase || inLog) {
		switch {
		case !inLog || inBase && less(n.base.kh, n.groups.kh):
			if err = n.old(nil); err == nil {
				inBase, err = n.base.advance()
			}
		case !inBase || less(n.groups.kh, n.base.kh):
			if err = n.fresh(); err == nil {
				inLog, err = n.groups.advance()
			}
		default:
			if err = n.old(&n.groups.group); err == nil {
				inBase, err = n.base.advance()
			}
			if err == nil {
				inLog, err = n.groups.advance()
			}
		}
	}
	return err
}

// old writes a record of the base, about which the log may say something.
func (n *next) old(g *group) error {
	r := n.base.record
	distrusted := n.c.isLate(r.kh)
	if g != nil {
		distrusted = distrusted || g.distrusted
		switch {
		case g.stands && !g.unlogged:
			r.content = g.content
		case g.stands && r.content != g.content:
			r.content = 0
		}
	}
	if distrusted {
		r.content = 0
	} else if n.c.seen[n.base.ordinal/blockRows]>>(n.base.ordinal%blockRows)&1 == 0 {
		return nil
	}
	return n.out.add(r, n.base.key)
}

// fresh writes a record that is not in the base.
func (n *next) fresh() error {
	g := &n.groups.group
	if !g.stands {
		return nil
	}
	r := g.record
	if g.distrusted || n.c.isLate(r.kh) {
		r.content = 0
	}
	return n.out.add(r, g.key)
}
