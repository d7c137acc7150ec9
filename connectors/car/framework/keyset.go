package framework

import "github.com/zeebo/xxh3"

// keySet remembers which rows an import has seen, by 64 bits of hash of
// collection and key and 16 bits of hash of the content: 10 bytes a row, in
// shards that grow one at a time, so that growing never needs much more than
// what is held. Two keys of one hash are found out by their content, and
// reported as a conflict.
type keySet struct {
	shards [keyShards]keyShard
}

const keyShards = 64

// keyShard is a table with linear probing; a key of 0 is an empty slot.
type keyShard struct {
	keys     []uint64
	contents []uint16
	used     int
}

// seen is what a keySet knows of a row.
type seen uint8

const (
	seenNot   seen = iota // now remembered
	seenSame              // the same content
	seenOther             // another content
)

// keyHash identifies a row within an import.
func keyHash(collection, key string) uint64 {
	return max(xxh3.HashString(key)^xxh3.HashStringSeed(collection, uint64(len(key))), 1)
}

// add remembers a row and returns what was known of it before.
func (s *keySet) add(key uint64, content uint16) seen {
	shard := &s.shards[key%keyShards]
	if shard.used >= len(shard.keys)*9/10 {
		shard.grow()
	}
	i := shard.slot(key)
	switch {
	case shard.keys[i] == 0:
		shard.keys[i], shard.contents[i] = key, content
		shard.used++
		return seenNot
	case shard.contents[i] == content:
		return seenSame
	}
	return seenOther
}

// has reports whether a row was added.
func (s *keySet) has(key uint64) bool {
	shard := &s.shards[key%keyShards]
	return len(shard.keys) > 0 && shard.keys[shard.slot(key)] != 0
}

// slot returns where key stands, or would.
func (s *keyShard) slot(key uint64) int {
	i := int(key / keyShards % uint64(len(s.keys)))
	for s.keys[i] != 0 && s.keys[i] != key {
		if i++; i == len(s.keys) {
			i = 0
		}
	}
	return i
}

// grow makes room for a quarter more.
func (s *keyShard) grow() {
	old := *s
	size := max(64, len(old.keys)*5/4)
	s.keys, s.contents = make([]uint64, size), make([]uint16, size)
	for i, key := range old.keys {
		if key != 0 {
			j := s.slot(key)
			s.keys[j], s.contents[j] = key, old.contents[i]
		}
	}
}
