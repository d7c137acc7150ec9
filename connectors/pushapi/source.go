package pushapi

import (
	"context"
	"fmt"
	"strings"

	"github.com/gapless-sync/gapless"
)

// source lists what a server holds durably. The protocol gives back URIs and
// stamps, and nothing else.
type source struct {
	api        PushAPI
	collection string
	path       string
}

var (
	_ gapless.Source    = (*source)(nil)
	_ gapless.Estimator = (*source)(nil)
	_ gapless.Closer    = (*source)(nil)
)

// Describe implements [gapless.Source].
func (s *source) Describe(ctx context.Context) (gapless.Description, error) {
	if err := s.api.Ping(ctx); err != nil {
		return gapless.Description{}, classify(err)
	}
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{s.collection}, Schema: "pushapi " + s.path}, nil
}

// Estimate implements [gapless.Estimator].
func (s *source) Estimate(ctx context.Context, _ gapless.Partition) (records, bytes int64, err error) {
	n, err := s.api.CountSyncedEntries(ctx, s.path, RecursiveDocuments)
	if err != nil {
		return -1, -1, classify(err)
	}
	return int64(n), -1, nil
}

// ReadAll implements [gapless.Source]: one record per document, in the order in
// which the server has them. It knows no marks. An enumeration that breaks off
// is an error, so that nothing is deleted.
func (s *source) ReadAll(ctx context.Context, _ gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	if after != "" {
		return gapless.Expired(fmt.Errorf("mark %q: an enumeration of a Push API server cannot be continued", clip(string(after))))
	}
	for entry, err := range s.api.EnumerateSyncedEntries(ctx, s.path, RecursiveDocuments) {
		if err != nil {
			return classify(err)
		}
		if entry.Folder {
			continue
		}
		if err := s.emit(entry, out); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) emit(entry SyncedEntry, out *gapless.Output) error {
	if err := checkKey(entry.URI); err != nil {
		return out.Reject(gapless.Rejection{Key: strings.ToValidUTF8(entry.URI, "\uFFFD"), Origin: s.api.SourceName(), Raw: []byte(entry.URI), Err: err})
	}
	stamp := strings.ToValidUTF8(entry.Stamp, "\uFFFD")
	b := out.Batch()
	row := gapless.Row{Key: b.AppendBytes([]byte(entry.URI)), Version: b.AppendBytes([]byte(entry.Stamp))}
	at := len(b.Buf)
	b.Buf = appendJSON(append(b.Buf, `{"uri":`...), entry.URI)
	b.Buf = append(appendJSON(append(b.Buf, `,"stamp":`...), stamp), '}')
	row.Data = gapless.Span{Off: uint32(at), Len: uint32(len(b.Buf) - at)}
	b.AppendRow(row)
	return out.FlushIfFull()
}

// Close releases the connection.
func (s *source) Close() error { return s.api.Close(context.Background()) }
