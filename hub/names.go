package hub

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
)

// names maps the names of connectors and collections to the ids that keys
// carry. Ids are never reused.
type names struct {
	mu             sync.RWMutex // guards the maps and what the entries reach
	connectors     map[string]*connector
	collections    map[uint32]*collection
	lastHolder     uint32
	lastCollection uint32
}

// holder is who has an epoch and checkpoints: a connector, or a writer that
// shares the records of one. Their ids are of one kind.
type holder struct {
	id    uint32
	name  string
	epoch atomic.Uint64
}

// connector is what the hub knows of one connector. The hub's mu guards the
// feed's bounds; changes to the rest need names.mu as well.
type connector struct {
	holder
	feed        feedBounds
	collections map[string]*collection
	writers     map[string]*holder // the others
}

func newConnector(id uint32, name string) *connector {
	return &connector{holder: holder{id: id, name: name}, collections: map[string]*collection{}, writers: map[string]*holder{}}
}

// writer returns the holder of a name; nil if there is none. The caller holds
// names.mu.
func (c *connector) writer(name string) *holder {
	if name == c.name {
		return &c.holder
	}
	return c.writers[name]
}

// collection is what the hub knows of one collection.
type collection struct {
	id        uint32
	name      string
	connector *connector
	parts     bool          // whether a record of it may have parts
	changed   atomic.Uint64 // serial of the last push of this incarnation
	// registered says that the store knows the collection as it is here.
	registered bool
	sums       rangeSums
}

const collectionParts = 1

func (n *names) load(db *pebble.DB) error {
	n.connectors, n.collections = map[string]*connector{}, map[uint32]*collection{}
	byID := map[uint32]*connector{}
	err := scan(db, []byte{spaceConnector}, func(key, value []byte) error {
		d := decoder{rest: value}
		c := newConnector(d.uint32(), string(key[1:]))
		c.epoch.Store(d.uint64())
		c.feed.trimmed = d.uint64()
		if d.err != nil {
			return d.err
		}
		n.connectors[c.name], byID[c.id] = c, c
		n.lastHolder = max(n.lastHolder, c.id)
		return c.feed.load(db, c.id)
	})
	if err != nil {
		return fmt.Errorf("read the connectors: %w", err)
	}
	err = scan(db, []byte{spaceCollection}, func(key, value []byte) error {
		owner := decoder{rest: key[1:]}
		d := decoder{rest: value}
		c := &collection{connector: byID[owner.uint32()], name: string(owner.rest), id: d.uint32(), parts: d.byte()&collectionParts != 0, registered: true, sums: newRangeSums()}
		if err := errors.Join(owner.err, d.err); err != nil || c.connector == nil {
			return fmt.Errorf("%w: collection", errDamagedValue)
		}
		c.connector.collections[c.name], n.collections[c.id] = c, c
		n.lastCollection = max(n.lastCollection, c.id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the collections: %w", err)
	}
	err = scan(db, []byte{spaceWriter}, func(key, value []byte) error {
		of, d := decoder{rest: key[1:]}, decoder{rest: value}
		c := byID[of.uint32()]
		w := &holder{name: string(of.rest), id: d.uint32()}
		w.epoch.Store(d.uint64())
		if err := errors.Join(of.err, d.err); err != nil || c == nil {
			return fmt.Errorf("%w: writer", errDamagedValue)
		}
		c.writers[w.name] = w
		n.lastHolder = max(n.lastHolder, w.id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the writers: %w", err)
	}
	return nil
}

// lastSerial returns the last serial that any connector's feed holds.
func (n *names) lastSerial() (serial uint64) {
	for _, c := range n.connectors {
		serial = max(serial, c.feed.last)
	}
	return serial
}

func (n *names) connector(name string) *connector {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.connectors[name]
}

// known returns a connector and a writer of its records, or empty ones that
// the store knows nothing of: ids begin at 1.
func (n *names) known(name, writer string) (*connector, *holder) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	c := n.connectors[name]
	if c == nil {
		c = newConnector(0, name)
	}
	if w := c.writer(writer); w != nil {
		return c, w
	}
	return c, &holder{name: writer}
}

func (n *names) collection(connector, name string) *collection {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if c := n.connectors[connector]; c != nil {
		return c.collections[name]
	}
	return nil
}

// all returns all connectors by name.
func (n *names) all() []*connector {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := make([]*connector, 0, len(n.connectors))
	for _, c := range n.connectors {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *connector) int { return strings.Compare(a.name, b.name) })
	return list
}

// collectionsOf returns the collections of c by name.
func (n *names) collectionsOf(c *connector) []*collection {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := make([]*collection, 0, len(c.collections))
	for _, collection := range c.collections {
		list = append(list, collection)
	}
	slices.SortFunc(list, func(a, b *collection) int { return strings.Compare(a.name, b.name) })
	return list
}

// byIDOf returns the collections of c by id, the order of their records.
func (n *names) byIDOf(c *connector) []*collection {
	list := n.collectionsOf(c)
	slices.SortFunc(list, func(a, b *collection) int { return cmp.Compare(a.id, b.id) })
	return list
}

// byID returns the collection of an id, or nil.
func (n *names) byID(id uint32) *collection {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.collections[id]
}

func (c *connector) save(b *pebble.Batch) error {
	value := binary.BigEndian.AppendUint32(nil, c.id)
	value = binary.BigEndian.AppendUint64(value, c.epoch.Load())
	value = binary.BigEndian.AppendUint64(value, c.feed.trimmed)
	return b.Set(append([]byte{spaceConnector}, c.name...), value, nil)
}

func (c *connector) saveWriter(w *holder, b *pebble.Batch) error {
	if w == &c.holder {
		return c.save(b)
	}
	value := binary.BigEndian.AppendUint32(nil, w.id)
	return b.Set(idKey(spaceWriter, c.id, w.name), binary.BigEndian.AppendUint64(value, w.epoch.Load()), nil)
}

func (c *collection) save(b *pebble.Batch) error {
	value := append(binary.BigEndian.AppendUint32(nil, c.id), 0)
	if c.parts {
		value[4] |= collectionParts
	}
	return b.Set(idKey(spaceCollection, c.connector.id, c.name), value, nil)
}

// adopt returns the connector of a name and a writer of its records, and puts
// into b which of them is new.
func (n *names) adopt(name, writer string, b *pebble.Batch) (*connector, *holder, error) {
	for _, name := range []string{name, writer} {
		if name == "" || len(name) > gapless.MaxKeyBytes {
			return nil, nil, gapless.Misconfigured(fmt.Errorf("a connector's name has 1 to %d bytes, not %d", gapless.MaxKeyBytes, len(name)))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.connectors[name]
	if c == nil {
		n.lastHolder++
		c = newConnector(n.lastHolder, name)
		n.connectors[name] = c
		if err := c.save(b); err != nil {
			return nil, nil, err
		}
	}
	w := c.writer(writer)
	if w == nil {
		n.lastHolder++
		w = &holder{id: n.lastHolder, name: writer}
		c.writers[writer] = w
		if err := c.saveWriter(w, b); err != nil {
			return nil, nil, err
		}
	}
	return c, w, nil
}

// adoptCollection returns the collection of name, and puts it into b if the
// store does not know it or is to have its first parts. The caller holds the
// hub's mu, and sets registered once b is committed.
func (n *names) adoptCollection(c *connector, name string, parts bool, b *pebble.Batch) (*collection, error) {
	if len(name) > gapless.MaxKeyBytes {
		return nil, gapless.Misconfigured(fmt.Errorf("a collection's name has up to %d bytes, not %d", gapless.MaxKeyBytes, len(name)))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	found := c.collections[name]
	if found == nil {
		n.lastCollection++
		found = &collection{id: n.lastCollection, name: name, connector: c, sums: newRangeSums()}
		c.collections[name], n.collections[found.id] = found, found
	}
	if parts && !found.parts {
		found.parts, found.registered = true, false
	}
	if found.registered {
		return found, nil
	}
	return found, found.save(b)
}

// scan calls fn for every key that begins with prefix. The slices are valid
// until fn returns.
func scan(r pebble.Reader, prefix []byte, fn func(key, value []byte) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return err
	}
	defer closing(it, &err)
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := fn(it.Key(), value); err != nil {
			return err
		}
	}
	return nil
}

// closing closes an iterator, whose own errors come out of that. An error
// that is there already stays as it is.
func closing(it *pebble.Iterator, err *error) {
	if closed := it.Close(); *err == nil {
		*err = closed
	}
}
