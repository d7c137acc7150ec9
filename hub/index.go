package hub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/index/scorch"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/cockroachdb/pebble/v2"
)

const (
	searchDir = "search"
	// indexVersion changes with everything that makes an old index useless.
	indexVersion = "3"
	// A batch of the index ends at whichever comes first.
	indexBatchDocs  = 1000
	indexBatchBytes = 2 << 20
)

// Fields of an indexed record.
const (
	fieldScope = "s" // connector and collection, as words that no text has
	fieldTitle = "t"
	fieldBody  = "x"
	fieldData  = "f" // what filters and facets see; stored, and not indexed
)

const (
	scopeOptions = index.IndexField | index.SkipFreqNorm
	textOptions  = index.IndexField | index.IncludeTermVectors
	dataOptions  = index.StoreField
)

// indexState says what the index holds of one connector. It is written in the
// same batch as the records it speaks of.
type indexState struct {
	serial  uint64 // everything up to here is in the index
	ordinal uint64 // of the change behind serial
	// While walking, the records up to walkKey of walkCollection are in the
	// index, at least as they were at serial.
	walking        bool
	walkCollection uint32
	walkKey        []byte
}

func (s *indexState) encode() []byte {
	value := binary.AppendUvarint(binary.AppendUvarint(nil, s.serial), s.ordinal)
	if !s.walking {
		return append(value, 0)
	}
	value = binary.AppendUvarint(append(value, 1), uint64(s.walkCollection))
	return append(value, s.walkKey...)
}

func decodeIndexState(value []byte) (indexState, error) {
	d := decoder{rest: value}
	s := indexState{serial: d.uvarint(), ordinal: d.uvarint(), walking: d.byte() != 0}
	if s.walking {
		s.walkCollection = uint32(d.uvarint())
		s.walkKey = append([]byte{}, d.rest...)
	}
	return s, d.err
}

var (
	indexOwner = []byte("hub")
	errStale   = errors.New("the search index does not belong to the store as it is")
)

func stateKey(connector uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("c"), connector)
}

// openIndex opens the index in dir if it is one of this store, and makes a new
// one otherwise: an index can always be built again.
func (x *indexer) openIndex() error {
	idx, err := tryIndex(func() (bleve.Index, error) { return bleve.OpenUsing(x.dir, map[string]any{"bolt_timeout": "5s"}) })
	if err == nil {
		owner, err := idx.GetInternal(indexOwner)
		if err == nil && string(owner) == x.owner() {
			x.replace(idx)
			return nil
		}
		err = errors.Join(err, idx.Close())
		x.hub.opts.Logger.Info("building a new search index", "dir", x.dir, "reason", errStale, "error", err)
	} else if !errors.Is(err, bleve.ErrorIndexPathDoesNotExist) {
		x.hub.opts.Logger.Warn("building a new search index", "dir", x.dir, "reason", err)
	}
	return x.createIndex()
}

func (x *indexer) owner() string { return x.hub.id + " " + indexVersion }

func (x *indexer) createIndex() error {
	x.update(func() { x.searchable, x.states = 0, map[uint32]indexState{} })
	if err := os.RemoveAll(x.dir); err != nil {
		return fmt.Errorf("remove the search index: %w", err)
	}
	idx, err := tryIndex(func() (bleve.Index, error) {
		return bleve.NewUsing(x.dir, bleve.NewIndexMapping(), scorch.Name, scorch.Name, map[string]any{})
	})
	if err != nil {
		return fmt.Errorf("create the search index: %w", err)
	}
	if err := idx.SetInternal(indexOwner, []byte(x.owner())); err != nil {
		return errors.Join(fmt.Errorf("create the search index: %w", err), idx.Close())
	}
	x.replace(idx)
	return nil
}

// tryIndex turns a panic over a damaged index into an error.
func tryIndex(open func() (bleve.Index, error)) (idx bleve.Index, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open the search index: %v", r)
		}
	}()
	return open()
}

// docID is a record's id in the index: its key in the store without the space.
func docID(collection uint32, key []byte) string {
	return string(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(key)), collection), key...))
}

// fromDocID returns the collection and key of an id.
func fromDocID(id string) (collection uint32, key string, ok bool) {
	if len(id) < 5 {
		return 0, "", false
	}
	return binary.BigEndian.Uint32([]byte(id)), id[4:], true
}

func connectorScope(id uint32) string  { return fmt.Sprintf("c%d", id) }
func collectionScope(id uint32) string { return fmt.Sprintf("o%d", id) }

// indexBatch collects documents for one write of the index.
type indexBatch struct {
	hub   *Hub
	index bleve.Index
	batch *bleve.Batch
	texts []converted // of parts of the documents
	docs  int
	bytes int
}

func (x *indexer) newBatch() *indexBatch {
	return &indexBatch{hub: x.hub, index: x.index, batch: x.index.NewBatch()}
}

func (b *indexBatch) full() bool { return b.docs >= indexBatchDocs || b.bytes >= indexBatchBytes }

// put indexes a record as it is in r.
func (b *indexBatch) put(ctx context.Context, r pebble.Reader, c *collection, key []byte, s *stored) error {
	parts, err := convertParts(ctx, r, key, s)
	if err != nil {
		return err
	}
	if len(parts) > 0 {
		b.texts = append(b.texts, converted{idKey(spaceRecord, c.id, key), parts})
	}
	text := textOf(key, s, parts)
	doc := document.NewDocument(docID(c.id, key))
	doc.AddField(document.NewTextFieldCustom(fieldScope, nil, []byte(connectorScope(c.connector.id)), scopeOptions, nil))
	doc.AddField(document.NewTextFieldCustom(fieldScope, nil, []byte(collectionScope(c.id)), scopeOptions, nil))
	doc.AddField(document.NewTextFieldCustom(fieldTitle, nil, text.titles, textOptions, analyzer{}))
	if len(text.body) > 0 {
		doc.AddField(document.NewTextFieldCustom(fieldBody, nil, text.body, textOptions, analyzer{}))
	}
	fields := fieldValues(s.data)
	if len(fields) > 0 {
		doc.AddField(document.NewTextFieldCustom(fieldData, nil, fields, dataOptions, nil))
	}
	b.docs++
	b.bytes += len(text.titles) + len(text.body) + len(fields) + len(key)
	return b.batch.IndexAdvanced(doc)
}

func (b *indexBatch) remove(c uint32, key []byte) {
	b.docs++
	b.batch.Delete(docID(c, key))
}

// write applies the batch together with the state that it leads to. It
// returns once queries see it and the disk holds it.
func (b *indexBatch) write(connector uint32, s indexState) error {
	if err := b.hub.keepTexts(b.texts); err != nil {
		return fmt.Errorf("keep the text of parts: %w", err)
	}
	b.batch.SetInternal(stateKey(connector), s.encode())
	if err := b.index.Batch(b.batch); err != nil {
		return fmt.Errorf("write the search index: %w", err)
	}
	// The index may still be looking at the batch, so it is not used again.
	b.batch, b.texts, b.docs, b.bytes = b.index.NewBatch(), nil, 0, 0
	return nil
}

func indexDir(dir string) string { return filepath.Join(dir, searchDir) }

// printable is a key for a log line.
func printable(key []byte) string { return strings.ToValidUTF8(string(key), "?") }
