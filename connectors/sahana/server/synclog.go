package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// logRows is how many entries the log keeps at least, and logSlack how many
// more there may be before old ones are removed.
const (
	logRows  = 10_000
	logSlack = 1_000
)

// Words of the log.
const (
	modePull     = "pull/incoming"
	modePush     = "push/incoming"
	modeRegister = "register/incoming"

	actionSend    = "send"
	actionReceive = "receive"
	actionRequest = "request registration"

	resultSuccess = "success"
	resultWarning = "warning"
	resultError   = "error"
)

// logCount counts the entries of the log.
type logCount struct {
	mu    sync.Mutex // guards what follows
	known bool
	rows  int
}

// logEntry is a line of the log of synchronisation.
type logEntry struct {
	repository, table, mode, action, result, message string
}

// log adds an entry to the table sync_log. It becomes durable with what is
// written next.
func (s *Server) log(ctx context.Context, e logEntry) error {
	w, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	at := w.now.UTC().Truncate(time.Second)
	text := func(name, value string) s3.Field { return s3.Field{Name: name, Text: value} }
	r := s3.Resource{
		Name: tableLog, UUID: "urn:x-log:" + rand.Text(), ModifiedOn: at, CreatedOn: at, MCI: new(0),
		Fields: []s3.Field{
			text("timestmp", s3.FormatTime(at, s3.TimeNaive)), text("repository_id", line(e.repository)), text("resource_name", e.table),
			text("mode", e.mode), text("action", e.action), text("result", e.result),
			{Name: "remote", Value: []byte("false")}, text("message", line(e.message)),
		},
	}
	if _, err := w.put(r, nil, ""); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if err := s.trimLog(ctx, w); err != nil {
		return err
	}
	return w.commit(ctx)
}

// trimLog removes the oldest entries if there are too many.
func (s *Server) trimLog(ctx context.Context, w *writing) error {
	s.logged.mu.Lock()
	defer s.logged.mu.Unlock()
	count := &s.logged
	if !count.known {
		err := w.view.Records(ctx, collectionIndex, indexPrefix(tableLog), "", func(gapless.Record) error {
			count.rows++
			return nil
		})
		if err != nil {
			count.rows = 0
			return fmt.Errorf("count the log: %w", err)
		}
		count.known = true
	}
	if count.rows++; count.rows <= logRows+logSlack {
		return nil
	}
	err := w.view.Records(ctx, collectionIndex, indexPrefix(tableLog), "", func(record gapless.Record) error {
		if count.rows <= logRows {
			return errEnough
		}
		entry := readEntry(record.Data)
		w.change(tableLog, gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: entry.uuid}})
		w.change(collectionIndex, gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: record.Key}})
		count.rows--
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		count.known, count.rows = false, 0
		return fmt.Errorf("shorten the log: %w", err)
	}
	return nil
}
