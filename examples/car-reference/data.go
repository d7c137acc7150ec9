package main

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// data is the data source: eight tables of a small inventory, made up from the
// number of assets, and what was changed since. Every change is remembered with
// the key that CAR knows the row by, so that deletions can be told.
type data struct {
	token string
	mux   *http.ServeMux

	mu     sync.Mutex // guards what follows
	tables map[string]*table
	log    []change
	// first is the number of the oldest change that is remembered; limit is
	// how many are.
	first, limit int
}

// table is the rows of one kind: those that were made up, and over them those
// that were changed.
type table struct {
	made int
	row  func(pk int) map[string]any
	// key is the field that CAR knows the rows by.
	key string
	// changed rows; nil for one that is gone.
	changed map[int]map[string]any
	last    int // pk
}

// change is one entry of the log.
type change struct {
	table string
	pk    int
	// key that is gone, if gone is set.
	key  string
	gone bool
}

// Bounds of one request.
const (
	maxPage = 1000
	maxPKs  = 500
	maxBody = 1 << 20
)

func newData(assets, changes int, token string) *data {
	d := &data{token: token, mux: http.NewServeMux(), tables: inventory(assets), limit: changes}
	d.mux.HandleFunc("GET /model_state_id", d.modelStateID)
	d.mux.HandleFunc("GET /delta", d.delta)
	d.mux.HandleFunc("GET /{table}/", d.list)
	d.mux.HandleFunc("POST /{table}/", d.save)
	d.mux.HandleFunc("DELETE /{table}/{pk}", d.delete)
	return d
}

// ServeHTTP implements [http.Handler].
func (d *data) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+d.token)) != 1 {
		http.Error(w, "a token is needed", http.StatusUnauthorized)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mux.ServeHTTP(w, r)
}

// get returns a row, or nil.
func (t *table) get(pk int) map[string]any {
	if r, ok := t.changed[pk]; ok {
		return r
	}
	if pk < 1 || pk > t.made {
		return nil
	}
	return t.row(pk)
}

func (t *table) keyOf(r map[string]any) string { return fmt.Sprint(r[t.key]) }

// reply answers with JSON. A reader that is gone needs no answer.
func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func (d *data) modelStateID(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]string{"model_state_id": strconv.Itoa(d.now())})
}

func (d *data) now() int { return d.first + len(d.log) }

// list answers with some rows: those with the numbers in pk, or a page of all
// behind after.
func (d *data) list(w http.ResponseWriter, r *http.Request) {
	t := d.tables[r.PathValue("table")]
	if t == nil {
		http.NotFound(w, r)
		return
	}
	q := r.URL.Query()
	if q.Has("pk") {
		t.pick(w, q.Get("pk"))
		return
	}
	after, err := number(q.Get("after"), 0)
	limit, limitErr := number(q.Get("limit"), 100)
	if err != nil || limitErr != nil || limit < 1 || limit > maxPage {
		http.Error(w, fmt.Sprintf("after and limit are numbers; limit is at most %d", maxPage), http.StatusBadRequest)
		return
	}
	rows, pk := make([]map[string]any, 0, limit), after+1
	for ; pk <= t.last && len(rows) < limit; pk++ {
		if row := t.get(pk); row != nil {
			rows = append(rows, row)
		}
	}
	next := 0
	if pk <= t.last {
		next = pk - 1
	}
	reply(w, map[string]any{"results": rows, "next": next})
}

func number(text string, absent int) (int, error) {
	if text == "" {
		return absent, nil
	}
	return strconv.Atoi(text)
}

func (t *table) pick(w http.ResponseWriter, list string) {
	pks := strings.Split(list, ",")
	if list == "" || len(pks) > maxPKs {
		http.Error(w, fmt.Sprintf("pk is a list of 1 to %d numbers", maxPKs), http.StatusBadRequest)
		return
	}
	rows := make([]map[string]any, 0, len(pks))
	for _, text := range pks {
		pk, err := strconv.Atoi(text)
		if err != nil {
			http.Error(w, "pk is a list of numbers", http.StatusBadRequest)
			return
		}
		if row := t.get(pk); row != nil {
			rows = append(rows, row)
		}
	}
	reply(w, map[string]any{"results": rows})
}

// delta answers with what has changed between two states.
func (d *data) delta(w http.ResponseWriter, r *http.Request) {
	from, err := strconv.Atoi(r.URL.Query().Get("from"))
	to, toErr := strconv.Atoi(r.URL.Query().Get("to"))
	switch {
	case err != nil || toErr != nil || from > to:
		http.Error(w, "from and to are numbers of states, in this order", http.StatusBadRequest)
		return
	case from < d.first || to > d.now():
		http.Error(w, fmt.Sprintf("the log goes from state %d to %d", d.first, d.now()), http.StatusGone)
		return
	}
	type deletion struct {
		PK  int    `json:"pk"`
		Key string `json:"key"`
	}
	type tableDelta struct {
		Updates   []int      `json:"updates"`
		Deletions []deletion `json:"deletions"`
	}
	all := map[string]*tableDelta{}
	for _, c := range d.log[from-d.first : to-d.first] {
		t := all[c.table]
		if t == nil {
			t = &tableDelta{Updates: []int{}, Deletions: []deletion{}}
			all[c.table] = t
		}
		if c.gone {
			t.Deletions = append(t.Deletions, deletion{c.pk, c.key})
		} else if !slices.Contains(t.Updates, c.pk) {
			t.Updates = append(t.Updates, c.pk)
		}
	}
	reply(w, map[string]any{"delta": all})
}

// note appends to the log.
func (d *data) note(c change) {
	d.log = append(d.log, c)
	if over := len(d.log) - d.limit; over > 0 {
		d.log, d.first = slices.Clone(d.log[over:]), d.first+over
	}
}

// save changes the given fields of a row, or makes one; the row's number is its
// field pk, or the next one.
func (d *data) save(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("table")
	t := d.tables[name]
	if t == nil {
		http.NotFound(w, r)
		return
	}
	fields, pk, err := decodeRow(r.Body, t.last+1)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	row := map[string]any{}
	old := t.get(pk)
	maps.Copy(row, old)
	maps.Copy(row, fields)
	row["pk"] = pk
	if old != nil && t.keyOf(old) != t.keyOf(row) {
		d.note(change{table: name, pk: pk, key: t.keyOf(old), gone: true})
	}
	t.changed[pk], t.last = row, max(t.last, pk)
	d.note(change{table: name, pk: pk})
	reply(w, row)
}

func decodeRow(body io.Reader, next int) (fields map[string]any, pk int, err error) {
	if err := json.NewDecoder(io.LimitReader(body, maxBody)).Decode(&fields); err != nil {
		return nil, 0, fmt.Errorf("the row is no JSON object: %w", err)
	}
	given, ok := fields["pk"]
	if !ok {
		return fields, next, nil
	}
	n, ok := given.(float64)
	if !ok || n < 1 || n > 1e9 || n != float64(int(n)) {
		return nil, 0, errors.New("pk is a positive number")
	}
	return fields, int(n), nil
}

// delete removes a row and, with an asset, what belongs to it alone.
func (d *data) delete(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("table")
	t := d.tables[name]
	pk, err := strconv.Atoi(r.PathValue("pk"))
	if t == nil || err != nil || t.get(pk) == nil {
		http.NotFound(w, r)
		return
	}
	if name == "assets" {
		for _, other := range []string{"ip_addresses", "mac_addresses", "hosts"} {
			d.removeOf(other, pk)
		}
	}
	d.remove(name, pk)
	w.WriteHeader(http.StatusNoContent)
}

func (d *data) remove(name string, pk int) {
	t := d.tables[name]
	d.note(change{table: name, pk: pk, key: t.keyOf(t.get(pk)), gone: true})
	t.changed[pk] = nil
}

// removeOf removes the rows of an asset: the one that was made up with it has
// its number, all others were changed.
func (d *data) removeOf(name string, asset int) {
	t := d.tables[name]
	candidates := slices.Sorted(maps.Keys(t.changed))
	if _, ok := t.changed[asset]; !ok {
		candidates = append(candidates, asset)
	}
	for _, pk := range candidates {
		if row := t.get(pk); row != nil && fmt.Sprint(row["asset"]) == strconv.Itoa(asset) {
			d.remove(name, pk)
		}
	}
}
