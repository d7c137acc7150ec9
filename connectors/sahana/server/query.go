package server

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// defaultDepth is how far references are followed unless maxdepth says.
const defaultDepth = 10

// names is a choice of names: all, or those listed.
type names struct {
	some bool
	list []string
}

func (n *names) has(name string) bool { return !n.some || slices.Contains(n.list, name) }

// readNames reads a list separated by commas, in which none stands for no name.
func readNames(q url.Values, parameter string) names {
	text := q.Get(parameter)
	if text == "" {
		return names{}
	}
	if strings.EqualFold(text, "none") {
		return names{some: true}
	}
	return names{some: true, list: strings.Split(text, ",")}
}

// question says what of a table to export, and how.
type question struct {
	table string
	// domain is left out of uuids.
	domain string
	// since narrows it to what has changed.
	since since
	// deleted includes tombstones.
	deleted bool
	// start and limit are a slice of what was found, in order.
	start, limit int
	order        []ordering
	// filters by table; those of other tables are for components and for what
	// is referenced.
	filters map[string][]filter
	// spelling of the filters, to tell whether they are the same.
	spelling string

	components, references, fields names
	// exposed narrows the components of the records that are asked for, and
	// componentID to one of them; referenced has those of what is referred to,
	// as table:alias.
	exposed     names
	componentID string
	referenced  names
	depth       int
	// ids and urls say where records are found; nulls exports fields without a
	// value as such, which an Eden refuses.
	ids, urls, nulls bool
}

// ordering is a field to order by.
type ordering struct {
	selector selector
	down     bool
}

// ownTable is what a filter calls the table that is asked for.
const ownTable = "~"

// filtersOf reads the filters among parameters: names with a dot, behind a
// table in brackets if bracketed.
func (q *question) filtersOf(values url.Values, bracketed bool) error {
	q.filters = map[string][]filter{}
	var spelling []string
	for name, list := range values {
		table, selector := ownTable, name
		if rest, ok := strings.CutPrefix(name, "["); ok {
			table, selector, ok = strings.Cut(rest, "]")
			if !ok {
				return refuse(http.StatusBadRequest, "the filter %q has no closing bracket", clip(name))
			}
		} else if bracketed {
			continue
		}
		if !strings.Contains(selector, ".") {
			continue // what is no filter and not known is passed over
		}
		if table == "" || table == q.table {
			table = ownTable
		}
		for _, value := range list {
			f, err := q.readFilter(table, selector, value)
			if err != nil {
				return err
			}
			q.filters[table] = append(q.filters[table], f)
			spelling = append(spelling, name+"="+value)
		}
	}
	slices.Sort(spelling)
	q.spelling = strings.Join(spelling, "&")
	return nil
}

// readFilter reads the filter of a selector such as ~.name__like.
func (q *question) readFilter(table, text, value string) (filter, error) {
	path, op, _ := strings.Cut(text, "__")
	of := q.table
	if table != ownTable {
		of = table
	}
	s, ok := readSelector(of, path)
	if !ok {
		return filter{}, refuse(http.StatusBadRequest, "it is not possible here to filter by %q", clip(path))
	}
	f := filter{selector: s, op: op, values: splitValues(value)}
	switch op {
	case "":
		f.op = "eq"
	case "eq", "belongs", "anyof", "ne", "lt", "le", "gt", "ge", "like", "contains":
	default:
		return filter{}, refuse(http.StatusBadRequest,
			"the operator %q of the filter %q is not one of eq, ne, lt, le, gt, ge, like, belongs, anyof and contains", clip(op), clip(text))
	}
	for i := range f.values {
		if s.field == "uuid" {
			f.values[i] = s3.LocalUUID(f.values[i], q.domain)
		}
		if f.values[i], ok = s.normal(f.values[i]); !ok {
			return filter{}, refuse(http.StatusBadRequest, "%q is no value for the filter %q", clip(value), clip(text))
		}
	}
	return f, nil
}

// splitValues reads a list of alternatives, which are separated by commas
// unless these stand between quotes. A backslash goes with a quote behind it
// that belongs to a value.
func splitValues(text string) []string {
	var list []string
	var one strings.Builder
	quoted, runes := false, []rune(text)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; {
		case c == '\\' && i+1 < len(runes) && runes[i+1] == '"':
			one.WriteByte('"')
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			list = append(list, one.String())
			one.Reset()
		default:
			one.WriteRune(c)
		}
	}
	return append(list, one.String())
}

// readPage reads start, limit and orderby. What is no number is passed over.
func (q *question) readPage(values url.Values) error {
	q.limit = math.MaxInt
	if n, err := strconv.Atoi(values.Get("start")); err == nil && n > 0 {
		q.start = n
	}
	if n, err := strconv.Atoi(values.Get("limit")); err == nil && n >= 0 {
		q.limit = n
	}
	for term := range strings.SplitSeq(values.Get("orderby"), ",") {
		words := strings.Fields(term)
		if len(words) == 0 {
			continue
		}
		path := words[0]
		if !strings.Contains(path, ".") {
			path = ownTable + "." + path
		}
		path = strings.Replace(path, q.table+".", ownTable+".", 1)
		s, ok := readSelector(q.table, path)
		down := len(words) == 2 && strings.EqualFold(words[1], "desc")
		if !ok || s.component != "" || len(words) > 2 || len(words) == 2 && !down && !strings.EqualFold(words[1], "asc") {
			return refuse(http.StatusBadRequest, "it is not possible here to order by %q", clip(term))
		}
		q.order = append(q.order, ordering{s, down})
	}
	return nil
}

// readShape reads what says how much of each record is exported.
func (q *question) readShape(values url.Values) {
	q.components = readNames(values, "mcomponents")
	q.referenced = readNames(values, "rcomponents")
	if !values.Has("rcomponents") {
		q.referenced = names{some: true}
	}
	q.references = readNames(values, "references")
	q.fields = readNames(values, "fields")
	q.depth = defaultDepth
	if n, err := strconv.Atoi(values.Get("maxdepth")); err == nil && n >= 0 {
		q.depth = min(n, defaultDepth)
	}
	q.ids = isTrue(values.Get("show_ids"))
	q.nulls = isTrue(values.Get("nulls"))
	q.urls = !strings.EqualFold(values.Get("show_urls"), "false")
}

func isTrue(text string) bool { return strings.EqualFold(text, "true") || text == "1" }

// since says which changes are asked for: those behind a sequence number, and
// what was modified or has arrived at a time or later. Its zero value asks for
// everything.
type since struct {
	sequence uint64
	at       time.Time
}

// lateness is how much later than it did a record counts as having arrived:
// clients ask from a second after the time of what they have got.
const lateness = 2

func (s *since) has(e *entry) bool {
	switch {
	case s.sequence == 0 && s.at.IsZero():
		return true
	case s.sequence > 0 && e.sequence > s.sequence:
		return true
	case s.at.IsZero():
		return false
	}
	at := s.at.Unix()
	return e.modified >= at || e.arrived+lateness >= at
}

// sinceTime returns what somebody asks for who names a time, and whose earlier
// questions are not known. A time ahead comes from a record that is dated so,
// and says nothing about when its owner last asked: then all is exported, as
// for a time that cannot be read.
func (c *exchange) sinceTime() since {
	at, _, err := s3.ParseMSince(c.query.Get("msince"))
	if err != nil || at.After(c.s.opts.Now().Add(time.Minute)) {
		return since{}
	}
	return since{at: at}
}
