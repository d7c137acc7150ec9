package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// Commit implements [state.Committer].
func (s *Store) Commit(ctx context.Context, l state.Lease, c state.Commit) error {
	doing := "commit to " + l.Connector
	if err := consistent(l, c); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.transact(ctx, doing, func(tx *sql.Tx) error {
		if err := current(ctx, tx, l, `commits = commits + 1`); err != nil {
			return err
		}
		return store(ctx, tx, l, c)
	})
}

func store(ctx context.Context, tx *sql.Tx, l state.Lease, c state.Commit) error {
	if c.Destination != nil {
		_, err := tx.ExecContext(ctx, `UPDATE connectors SET destination_id = $1, incarnation = $2 WHERE name = $3`,
			[]byte(c.Destination.DestinationID), []byte(c.Destination.Incarnation), l.Connector)
		if err != nil {
			return fmt.Errorf("destination: %w", err)
		}
	}
	if c.Run != nil {
		if err := saveRun(ctx, tx, c.Run); err != nil {
			return fmt.Errorf("run %s: %w", c.Run.ID, err)
		}
	}
	if err := savePartitions(ctx, tx, c.Partitions); err != nil {
		return err
	}
	if err := appendCertificates(ctx, tx, c.Certificates); err != nil {
		return err
	}
	if err := resolve(ctx, tx, l, c); err != nil {
		return err
	}
	if err := openLetters(ctx, tx, c.DeadLetters); err != nil {
		return err
	}
	if err := saveEntries(ctx, tx, l.Connector, c.Entries); err != nil {
		return fmt.Errorf("entries: %w", err)
	}
	return addConflicts(ctx, tx, c.Conflicts)
}

// consistent reports what in c does not belong to the connector of the lease
// or contradicts itself.
func consistent(l state.Lease, c state.Commit) error {
	belongs := func(connector, what, id string) error {
		switch {
		case connector != l.Connector:
			return fmt.Errorf("%s %q belongs to connector %q", what, id, connector)
		case id == "":
			return fmt.Errorf("%s without an id", what)
		}
		return nil
	}
	var err error
	if c.Run != nil {
		err = belongs(c.Run.Connector, "run", c.Run.ID)
	}
	for i := range c.Partitions {
		p := &c.Partitions[i]
		err = errors.Join(err, belongs(p.Connector, "partition", p.ID))
		if p.Checkpoint.Partition != "" && p.Checkpoint.Partition != p.ID {
			err = errors.Join(err, fmt.Errorf("partition %q has a checkpoint of %q", p.ID, p.Checkpoint.Partition))
		}
	}
	for i := range c.Certificates {
		err = errors.Join(err, belongs(c.Certificates[i].Connector, "certificate", c.Certificates[i].ID))
	}
	for i := range c.DeadLetters {
		err = errors.Join(err, belongs(c.DeadLetters[i].Connector, "dead letter of partition", c.DeadLetters[i].Partition))
	}
	for i := range c.Entries {
		if e := &c.Entries[i]; e.Collection == "" || e.Key == "" || len(e.Key) > gapless.MaxKeyBytes {
			err = errors.Join(err, fmt.Errorf("entry of %q in %q: key has %d bytes", e.Key, e.Collection, len(e.Key)))
		}
	}
	for i := range c.Conflicts {
		x := &c.Conflicts[i]
		err = errors.Join(err, belongs(x.Connector, "conflict", x.ID))
		if x.Loser > state.Other {
			err = errors.Join(err, fmt.Errorf("conflict %q was lost by %s", x.ID, x.Loser))
		}
	}
	return err
}

func saveRun(ctx context.Context, tx *sql.Tx, r *state.Run) error {
	_, replaced, _ := strings.Cut(runColumns, ", ")
	_, err := tx.ExecContext(ctx, upsert("runs", runColumns, "(id)", replaced),
		r.ID, r.Connector, text(r.Holder), r.Epoch, nanos(r.Started), nanos(r.Finished), r.Status, r.Exit,
		text(r.Error), text(r.Hint), r.PlanID, []byte(r.Summary))
	return err
}

func savePartitions(ctx context.Context, tx *sql.Tx, partitions []state.Partition) error {
	replaced := strings.TrimPrefix(partitionColumns, "connector, id, ")
	statement := upsert("partitions", partitionColumns, "(connector, id)", replaced)
	return each(ctx, tx, statement, partitions, func(stmt *sql.Stmt, p *state.Partition) error {
		c := &p.Checkpoint
		_, err := stmt.ExecContext(ctx,
			p.Connector, []byte(p.ID), []byte(p.Collection), []byte(p.Prefix),
			[]byte(c.Position), []byte(c.Mark), []byte(c.Target), c.Run, c.Seq, c.Epoch,
			string(p.Outcome), text(p.Error), text(p.ErrorCode), []byte(p.Fingerprint), []byte(p.DestinationID), []byte(p.Incarnation),
			[]byte(p.Started), p.Records, p.LogSize, encodeKeys(p.Repair), nanos(p.Reconciled), nanos(p.Updated),
			p.Rule, p.LastRun, p.Seq, p.Unfinished, p.Progress)
		if err != nil {
			return fmt.Errorf("partition %s: %w", p.ID, err)
		}
		return nil
	})
}

func appendCertificates(ctx context.Context, tx *sql.Tx, certificates []proof.Certificate) error {
	const statement = `
		INSERT INTO certificates (connector, partition, seq, run, body) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (connector, partition, seq) DO NOTHING`
	return each(ctx, tx, statement, certificates, func(stmt *sql.Stmt, c *proof.Certificate) error {
		body, err := c.Encode()
		if err != nil {
			return err
		}
		result, err := stmt.ExecContext(ctx, c.Connector, []byte(c.Partition), c.Seq, c.Run, body)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", c.ID, err)
		}
		if added, err := result.RowsAffected(); err != nil || added > 0 {
			return err
		}
		return sameCertificate(ctx, tx, c, body)
	})
}

// sameCertificate tells a commit that is repeated from one that would rewrite
// the account.
func sameCertificate(ctx context.Context, tx *sql.Tx, c *proof.Certificate, body []byte) error {
	var stored []byte
	err := tx.QueryRowContext(ctx, `SELECT body FROM certificates WHERE connector = $1 AND partition = $2 AND seq = $3`,
		c.Connector, []byte(c.Partition), c.Seq).Scan(&stored)
	if err == nil && !bytes.Equal(stored, body) {
		err = fmt.Errorf("number %d of partition %s is another one already", c.Seq, c.Partition)
	}
	if err != nil {
		return fmt.Errorf("certificate %s: %w", c.ID, err)
	}
	return nil
}

func resolve(ctx context.Context, tx *sql.Tx, l state.Lease, c state.Commit) error {
	by, at := l.Holder, c.At
	if c.Run != nil {
		by = c.Run.ID
	}
	if at.IsZero() {
		at = time.Now()
	}
	const set = ` SET resolved_at = $1, resolved_by = $2 WHERE id = $3 AND connector = $4 AND resolved_at = 0`
	err := each(ctx, tx, `UPDATE dead_letters`+set, c.Resolved, func(stmt *sql.Stmt, id *string) error {
		if _, err := stmt.ExecContext(ctx, nanos(at), by, *id, l.Connector); err != nil {
			return fmt.Errorf("resolve %s: %w", *id, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return each(ctx, tx, `UPDATE conflicts`+set+` AND decided_at = $5`, c.Settled, func(stmt *sql.Stmt, x *state.Conflict) error {
		if _, err := stmt.ExecContext(ctx, nanos(at), by, x.ID, l.Connector, nanos(x.Decision.At)); err != nil {
			return fmt.Errorf("resolve conflict %s: %w", x.ID, err)
		}
		return nil
	})
}

func openLetters(ctx context.Context, tx *sql.Tx, letters []state.DeadLetter) error {
	const again = "run, op, version, body, has_body, has_parts, reason, failed_at, record_key, origin, line"
	statement := upsert("dead_letters", letterColumns+", body, subject", "(connector, subject) WHERE resolved_at = 0", again)
	return each(ctx, tx, statement, letters, func(stmt *sql.Stmt, d *state.DeadLetter) error {
		body, whole := d.Body, d.HasBody
		if len(body) > state.MaxLetterBytes {
			body, whole = body[:state.MaxLetterBytes], false
		}
		subject := subjectOf(d)
		_, err := stmt.ExecContext(ctx,
			letterID(d, subject), d.Connector, []byte(d.Partition), d.Run, []byte(d.Key), []byte(d.Origin), d.Line, d.Op,
			[]byte(d.Version), whole, d.HasParts, d.Stage, text(d.Reason), nanos(d.At), 0, "", append([]byte{}, body...), subject)
		if err != nil {
			return fmt.Errorf("dead letter of %s in partition %s: %w", d.Key, d.Partition, err)
		}
		return nil
	})
}

// subjectOf hashes what a letter is about: a record by key, or by the place
// where it stood, at one stage.
func subjectOf(d *state.DeadLetter) []byte {
	fields := []string{d.Partition, d.Stage, "key", d.Key}
	if d.Key == "" {
		fields = []string{d.Partition, d.Stage, "place", d.Origin, fmt.Sprint(d.Line)}
	}
	hash := sha256.Sum256(encodeKeys(fields))
	return hash[:16]
}

// letterID depends on what the letter says alone, so that repeating a commit
// repeats the id.
func letterID(d *state.DeadLetter, subject []byte) string {
	text := binary.BigEndian.AppendUint64(bytes.Clone(subject), uint64(nanos(d.At)))
	hash := sha256.Sum256(append(append(text, d.Connector+"\x00"...), d.Run...))
	return "d-" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(hash[:10]))
}
