package gaplesstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/gapless-sync/gapless"
)

// Source is an outside system in memory. Its change log makes it a source of
// any of the three change models; what it may be asked is decided by the type
// that [Source.As] returns.
type Source struct {
	// Faults is asked before each call, by these names: "describe"; "position";
	// "read", before each record and each change in the log; "keys", before
	// each key; "fetch", before each key that is asked for; and "end", before a
	// read of records, changes or keys returns nil.
	Faults Faults

	mu         sync.Mutex
	records    map[string]map[string]gapless.Record // collection, key
	spoiled    map[string]spoiling                  // collection/key
	log        []logged
	slips      int
	pruned     int    // positions before this have expired
	marks      int    // records between marks of ReadAll; 0 never marks
	schema     string // see SetSchema
	collection []string
}

type logged struct {
	collection, key string
	deleted         bool
}

// NewSource returns an empty source with the given collections. No other
// collection can be put into: that panics.
func NewSource(collections ...string) *Source {
	s := &Source{records: map[string]map[string]gapless.Record{}, spoiled: map[string]spoiling{}, collection: collections}
	for _, c := range collections {
		s.records[c] = map[string]gapless.Record{}
	}
	return s
}

// Put creates or replaces a record.
func (s *Source) Put(collection, key, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(collection, gapless.Record{Key: key, Version: strconv.Itoa(len(s.log) + 1), Data: []byte(data)})
}

// PutRecord is Put of a record that is kept as it is given, with its version,
// its time and its parts.
func (s *Source) PutRecord(collection string, r gapless.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Data = bytes.Clone(r.Data)
	s.put(collection, r)
}

func (s *Source) put(collection string, r gapless.Record) {
	s.in(collection)[r.Key] = r
	s.log = append(s.log, logged{collection, r.Key, false})
	delete(s.spoiled, collection+"/"+r.Key)
}

// in returns the records of a collection, which a test has to have named.
func (s *Source) in(collection string) map[string]gapless.Record {
	records, ok := s.records[collection]
	if !ok {
		panic(fmt.Sprintf("gaplesstest: NewSource was not given a collection %q but %q", collection, s.collection))
	}
	return records
}

// Forbid makes a record unreadable until it is put again: ReadAll rejects it.
func (s *Source) Forbid(collection, key string) { s.spoil(collection, key, forbidden) }

// Garble makes a record unreadable, and its key with it.
func (s *Source) Garble(collection, key string) { s.spoil(collection, key, garbled) }

// Repeat makes ReadAll emit a key a second time, with other data, until the
// record is put again.
func (s *Source) Repeat(collection, key, data string) {
	s.spoil(collection, key, spoiling{again: data})
}

// spoiling is what is wrong with a record.
type spoiling struct {
	err   error
	named bool   // the key is known nevertheless
	again string // data of a second record with that key
}

var (
	forbidden = spoiling{err: errors.New("permission denied"), named: true}
	garbled   = spoiling{err: errors.New("not a record")}
)

func (s *Source) spoil(collection, key string, how spoiling) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoiled[collection+"/"+key] = how
}

// Slip changes a record without a trace in the change log, as a late commit
// or a backdated edit does.
func (s *Source) Slip(collection, key, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slips++
	s.in(collection)[key] = gapless.Record{Key: key, Version: fmt.Sprintf("slip %d", s.slips), Data: []byte(data)}
}

// Remove deletes a record.
func (s *Source) Remove(collection, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[collection][key]; !ok {
		return
	}
	s.log = append(s.log, logged{collection, key, true})
	delete(s.records[collection], key)
}

// Records returns the current data by key.
func (s *Source) Records(collection string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for k, r := range s.records[collection] {
		all[k] = string(r.Data)
	}
	return all
}

// Now returns the position that the source would issue now.
func (s *Source) Now() gapless.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return gapless.Position(strconv.Itoa(len(s.log)))
}

// Prune makes every position before now expire.
func (s *Source) Prune() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pruned = len(s.log)
}

// MarkEvery makes ReadAll mark every n records; 0 never.
func (s *Source) MarkEvery(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks = n
}

// SetSchema changes the schema fingerprint of the description.
func (s *Source) SetSchema(schema string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schema = schema
}

// As returns the source as one of a change model.
func (s *Source) As(model gapless.ChangeModel) gapless.Source {
	switch model {
	case gapless.ModelModified:
		return modified{changing{positioned{enumerated{s, model}}}}
	case gapless.ModelLog:
		return changing{positioned{enumerated{s, model}}}
	}
	return enumerated{s, gapless.ModelFull}
}

type enumerated struct {
	*Source
	model gapless.ChangeModel
}

func (s enumerated) Describe(context.Context) (gapless.Description, error) {
	if err := s.Faults.Check("describe"); err != nil {
		return gapless.Description{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return gapless.Description{Model: s.model, Collections: s.collection, Schema: s.schema}, nil
}

// ReadAll emits the records in key order; a mark is the last key before it.
func (s enumerated) ReadAll(_ context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	s.mu.Lock()
	records, spoiled, marks := maps.Clone(s.records[p.Collection]), maps.Clone(s.spoiled), s.marks
	s.mu.Unlock()
	n := 0
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if key <= string(after) {
			continue
		}
		if err := s.Faults.Check("read"); err != nil {
			return err
		}
		r := records[key]
		if s.model == gapless.ModelFull {
			r.Version = "" // content that comes back is the same content
		}
		if err := emitSpoiled(out, r, spoiled[p.Collection+"/"+key]); err != nil {
			return err
		}
		if n++; marks > 0 && n%marks == 0 {
			if err := out.Mark(gapless.Mark(key)); err != nil {
				return err
			}
		}
	}
	return s.Faults.Check("end")
}

func emitSpoiled(out *gapless.Output, r gapless.Record, how spoiling) error {
	if how.err != nil {
		rejection := gapless.Rejection{Origin: "memory", Raw: r.Data, Err: how.err}
		if how.named {
			rejection.Key = r.Key
		}
		return out.Reject(rejection)
	}
	if err := out.Upsert(r); err != nil || how.again == "" {
		return err
	}
	r.Data = []byte(how.again)
	return out.Upsert(r)
}

// CanResume is true for a source that marks: keys are in order, and what
// changed behind the mark since is read from the log, or by comparing.
func (s enumerated) CanResume(context.Context, gapless.Partition, gapless.Mark, gapless.Position) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.marks > 0 && s.model != gapless.ModelFull, nil
}

type positioned struct{ enumerated }

func (s positioned) Position(context.Context, gapless.Partition) (gapless.Position, error) {
	if err := s.Faults.Check("position"); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return gapless.Position(strconv.Itoa(len(s.log))), nil
}

type changing struct{ positioned }

// ReadChanges emits the latest state of every key logged after from.
func (s changing) ReadChanges(_ context.Context, p gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	s.mu.Lock()
	log, pruned := slices.Clone(s.log), s.pruned
	s.mu.Unlock()
	first, err := strconv.Atoi(string(from))
	if err != nil || first < pruned || first > len(log) {
		return gapless.Expired(fmt.Errorf("position %q is not in the log", from))
	}
	last, err := strconv.Atoi(string(to))
	if err != nil || last < first || last > len(log) {
		return gapless.Expired(fmt.Errorf("position %q is not in the log behind %q", to, from))
	}
	for i, entry := range log[first:last] {
		if err := s.Faults.Check("read"); err != nil {
			return err
		}
		if entry.collection != p.Collection {
			continue
		}
		if err := s.emit(p, entry, out); err != nil {
			return err
		}
		if i%3 == 2 {
			if err := out.Mark(gapless.Mark(strconv.Itoa(first + i + 1))); err != nil {
				return err
			}
		}
	}
	return s.Faults.Check("end")
}

func (s changing) emit(p gapless.Partition, entry logged, out *gapless.Output) error {
	s.mu.Lock()
	r, ok := s.records[p.Collection][entry.key]
	s.mu.Unlock()
	switch {
	case ok:
		return out.Upsert(r)
	case s.model == gapless.ModelLog:
		return out.Delete(entry.key)
	}
	return nil
}

type modified struct{ changing }

func (s modified) ReadKeys(_ context.Context, p gapless.Partition, out *gapless.Output) error {
	s.mu.Lock()
	records := maps.Clone(s.records[p.Collection])
	s.mu.Unlock()
	for key, r := range records {
		if err := s.Faults.Check("keys"); err != nil {
			return err
		}
		if err := out.Key(key, r.Version); err != nil {
			return err
		}
	}
	return s.Faults.Check("end")
}

func (s modified) Fetch(_ context.Context, p gapless.Partition, keys []string, out *gapless.Output) error {
	for _, key := range keys {
		if err := s.Faults.Check("fetch"); err != nil {
			return err
		}
		s.mu.Lock()
		r, ok := s.records[p.Collection][key]
		s.mu.Unlock()
		if !ok {
			if err := out.Delete(key); err != nil {
				return err
			}
			continue
		}
		if err := out.Upsert(r); err != nil {
			return err
		}
	}
	return nil
}
