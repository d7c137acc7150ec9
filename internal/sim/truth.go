package sim

import (
	"slices"
	"strconv"

	"github.com/gapless-sync/gapless"
)

// source is the truth of the outside system that is read: what every record
// ever was. It is guarded by the world's lock.
type source struct {
	parts []*part
	log   []logged
	// pruned is where the log begins: positions before it have expired.
	pruned int
	// generation of the schema: all records look otherwise in the next one.
	generation int
	// tokens are positions that turned out to lie later than when they were
	// taken; only a saboteur issues such.
	tokens []int
}

// logged is one change.
type logged struct {
	part *part
	key  string
}

// part is one partition of the source.
type part struct {
	gapless.Partition
	number int
	listed bool
	keys   []string // all that there can be, in order
	// records by key; those that never were have no history.
	records map[string]*record
}

// record is everything that one key ever stood for.
type record struct {
	history []version
	// forbidden records can be seen and not read, garbled ones not even named.
	forbidden, garbled bool
}

// version is the state of a record from a place of the log on.
type version struct {
	since int // length of the log before the change
	value int // absent if there is no record
}

const absent = -1

// Values that destinations do not take: at once, or when they are synced.
const (
	refusedValue = 9
	tardyValue   = 8
)

// place returns the place in the log that a position stands for; false if it
// is none.
func (s *source) place(p gapless.Position) (int, bool) {
	if text := string(p); len(text) > 0 && text[0] == '~' {
		n, err := strconv.Atoi(text[1:])
		if err != nil || n >= len(s.tokens) {
			return 0, false
		}
		return s.tokens[n], true
	}
	n, err := strconv.Atoi(string(p))
	return n, err == nil && n <= len(s.log)
}

func (s *source) now() gapless.Position { return gapless.Position(strconv.Itoa(len(s.log))) }

// put changes a record; the value absent removes it.
func (s *source) put(p *part, key string, value int) {
	r := p.records[key]
	if value == absent && r.value() == absent {
		return
	}
	r.history = append(r.history, version{len(s.log) + 1, value})
	r.forbidden, r.garbled = false, false
	s.log = append(s.log, logged{p, key})
}

// value returns what the record is now.
func (r *record) value() int {
	if len(r.history) == 0 {
		return absent
	}
	return r.history[len(r.history)-1].value
}

// since returns the states of the record from a place in the log on: the one
// that it had there, and all later ones.
func (r *record) since(place int) []version {
	i, exact := slices.BinarySearchFunc(r.history, place, func(v version, place int) int { return v.since - place })
	if !exact {
		i--
	}
	if i < 0 {
		return append([]version{{0, absent}}, r.history...)
	}
	return r.history[i:]
}

// next returns the first record behind a key that exists now.
func (p *part) next(after string) (string, *record) {
	for _, key := range p.keys {
		if r := p.records[key]; key > after && r.value() != absent {
			return key, r
		}
	}
	return "", nil
}

// emitted returns the record as the source gives it out.
func (s *source) emitted(key string, r *record, model gapless.ChangeModel) gapless.Record {
	last := r.history[len(r.history)-1]
	out := gapless.Record{Key: key, Data: []byte(plainData(s.generation, last.value))}
	if model != gapless.ModelFull { // content that comes back is the same content there
		out.Version = strconv.Itoa(last.since)
	}
	return out
}

func plainData(generation, value int) string {
	return `{"v":` + strconv.Itoa(value) + `,"g":` + strconv.Itoa(generation) + "}"
}

// rule is a filter and a mapping that a connector can be configured with.
type rule struct {
	filter, set string // expressions; set is of a new field
}

// rules are those that histories draw from. The first is the identity.
func rules() [4]rule {
	return [...]rule{{}, {filter: "v != 1"}, {set: "v"}, {filter: "v != 0", set: "g"}}
}

// mapped returns what a record becomes by a rule; false if it is filtered.
// It is written without package mapping, which it is there to judge.
func (r rule) mapped(generation, value int) (string, bool) {
	if value == absent || r.filter == "v != 1" && value == 1 || r.filter == "v != 0" && value == 0 {
		return "", false
	}
	data := plainData(generation, value)
	switch r.set {
	case "v":
		return data[:len(data)-1] + `,"w":` + strconv.Itoa(value) + "}", true
	case "g":
		return data[:len(data)-1] + `,"w":` + strconv.Itoa(generation) + "}", true
	}
	return data, true
}
