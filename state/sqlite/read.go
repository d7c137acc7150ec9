package sqlite

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

const selectConnectors = `SELECT name, destination_id, incarnation, epoch, holder, lease_until FROM connectors`

func scanConnector(row scan) (state.Connector, error) {
	var c state.Connector
	l := &c.Lease
	if err := row(&c.Name, &c.DestinationID, &c.Incarnation, &c.Epoch, &l.Holder, instant{&l.Until}); err != nil {
		return state.Connector{}, err
	}
	if l.Holder != "" {
		l.Connector, l.Epoch = c.Name, c.Epoch
	}
	return c, nil
}

// Connector implements [state.ProgressReader].
func (s *Store) Connector(ctx context.Context, name string) (state.Connector, error) {
	c, err := scanConnector(s.read.QueryRowContext(ctx, selectConnectors+` WHERE name = $1`, name).Scan)
	return c, s.failed(ctx, "read connector "+name, err)
}

// Connectors implements [state.ProgressReader].
func (s *Store) Connectors(ctx context.Context) ([]state.Connector, error) {
	all, err := list(ctx, s.read, scanConnector, selectConnectors)
	slices.SortFunc(all, func(a, b state.Connector) int { return strings.Compare(a.Name, b.Name) })
	return all, s.failed(ctx, "read connectors", err)
}

const partitionColumns = "connector, id, collection, prefix, " +
	"checkpoint_position, checkpoint_mark, checkpoint_target, checkpoint_run, checkpoint_seq, checkpoint_epoch, " +
	"outcome, error, error_code, fingerprint, destination_id, incarnation, " +
	"started, records, log_size, repair, reconciled, updated, rule, last_run, seq, unfinished, progress"

func scanPartition(row scan) (state.Partition, error) {
	var p state.Partition
	var repair []byte
	c := &p.Checkpoint
	err := row(&p.Connector, &p.ID, &p.Collection, &p.Prefix, &c.Position, &c.Mark, &c.Target, &c.Run, &c.Seq, &c.Epoch,
		&p.Outcome, &p.Error, &p.ErrorCode, &p.Fingerprint, &p.DestinationID, &p.Incarnation,
		&p.Started, &p.Records, &p.LogSize, &repair, instant{&p.Reconciled}, instant{&p.Updated}, &p.Rule, &p.LastRun, &p.Seq,
		&p.Unfinished, &p.Progress)
	if err != nil {
		return state.Partition{}, err
	}
	if *c != (gapless.Checkpoint{}) {
		c.Partition = p.ID
	}
	p.Repair, err = decodeKeys(repair)
	return p, err
}

// Partitions implements [state.ProgressReader].
func (s *Store) Partitions(ctx context.Context, connector string) ([]state.Partition, error) {
	all, err := list(ctx, s.read, scanPartition, `SELECT `+partitionColumns+` FROM partitions WHERE connector = $1 ORDER BY id`, connector)
	return all, s.failed(ctx, "read partitions of "+connector, err)
}

const runColumns = "id, connector, holder, epoch, started, finished, status, exit_code, error, hint, plan_id, summary"

func scanRun(row scan) (state.Run, error) {
	var r state.Run
	err := row(&r.ID, &r.Connector, &r.Holder, &r.Epoch, instant{&r.Started}, instant{&r.Finished}, &r.Status, &r.Exit,
		&r.Error, &r.Hint, &r.PlanID, (*[]byte)(&r.Summary))
	return r, err
}

// Runs implements [state.ProgressReader].
func (s *Store) Runs(ctx context.Context, connector string, limit int) ([]state.Run, error) {
	var where conditions
	where.equal("connector", connector, connector != "")
	query := `SELECT ` + runColumns + ` FROM runs` + where.clause() + ` ORDER BY started DESC, id DESC` + where.limit(limit)
	all, err := list(ctx, s.read, scanRun, query, where.args...)
	return all, s.failed(ctx, "read runs", err)
}

// Run implements [state.ProgressReader].
func (s *Store) Run(ctx context.Context, id string) (state.Run, error) {
	r, err := scanRun(s.read.QueryRowContext(ctx, `SELECT `+runColumns+` FROM runs WHERE id = $1`, id).Scan)
	return r, s.failed(ctx, "read run "+id, err)
}

// pageSize is how many certificates are read at once. Pages keep a slow
// consumer from holding a connection, and the file's old content, for long.
const pageSize = 256

// Certificates implements [state.CertificateReader].
func (s *Store) Certificates(ctx context.Context, connector string) iter.Seq2[proof.Certificate, error] {
	const query = `
		SELECT partition, seq, body FROM certificates
		WHERE connector = $1 AND (partition, seq) > ($2, $3) ORDER BY partition, seq LIMIT $4`
	return func(yield func(proof.Certificate, error) bool) {
		last := storedCertificate{partition: []byte{}}
		for {
			page, err := list(ctx, s.read, scanCertificate, query, connector, last.partition, last.seq, pageSize)
			if err != nil {
				yield(proof.Certificate{}, s.failed(ctx, "read certificates of "+connector, err))
				return
			}
			for i := range page {
				c, err := page[i].decode(connector)
				if !yield(c, err) || err != nil {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			last = page[len(page)-1]
		}
	}
}

// LastCertificate implements [state.CertificateReader].
func (s *Store) LastCertificate(ctx context.Context, connector, partition string) (proof.Certificate, error) {
	row := s.read.QueryRowContext(ctx, `
		SELECT partition, seq, body FROM certificates
		WHERE connector = $1 AND partition = $2 ORDER BY seq DESC LIMIT 1`, connector, []byte(partition))
	stored, err := scanCertificate(row.Scan)
	if err != nil {
		return proof.Certificate{}, s.failed(ctx, fmt.Sprintf("read the last certificate of %s, partition %s", connector, partition), err)
	}
	return stored.decode(connector)
}

type storedCertificate struct {
	partition, body []byte
	seq             int64
}

func scanCertificate(row scan) (storedCertificate, error) {
	var c storedCertificate
	err := row(&c.partition, &c.seq, &c.body)
	return c, err
}

// decode fails if the body is not what Encode wrote, or stands in another
// certificate's place.
func (c *storedCertificate) decode(connector string) (proof.Certificate, error) {
	decoded, err := proof.DecodeCertificate(c.body)
	if err == nil && (decoded.Connector != connector || decoded.Partition != string(c.partition) || decoded.Seq != uint64(c.seq)) {
		err = fmt.Errorf("%w: it is number %d of %s, partition %s", proof.ErrTampered, decoded.Seq, decoded.Connector, decoded.Partition)
	}
	if err != nil {
		return proof.Certificate{}, gapless.Errorf(gapless.CodeTampered, connector, "certificate %d of partition %s: %w", c.seq, c.partition, err)
	}
	return decoded, nil
}

const letterColumns = "id, connector, partition, run, record_key, origin, line, op, version, has_body, has_parts, stage, reason, " +
	"failed_at, resolved_at, resolved_by"

func letterFields(d *state.DeadLetter) []any {
	return []any{
		&d.ID, &d.Connector, &d.Partition, &d.Run, &d.Key, &d.Origin, &d.Line, &d.Op, &d.Version, &d.HasBody, &d.HasParts,
		&d.Stage, &d.Reason, instant{&d.At}, instant{&d.ResolvedAt}, &d.ResolvedBy,
	}
}

// DeadLetters implements [state.DeadLetterReader].
func (s *Store) DeadLetters(ctx context.Context, f state.DeadLetterFilter) ([]state.DeadLetter, error) {
	var where conditions
	where.equal("connector", f.Connector, f.Connector != "")
	where.equal("partition", []byte(f.Partition), f.Partition != "")
	where.equal("run", f.Run, f.Run != "")
	where.equal("resolved_at", 0, f.Open)
	query := `SELECT ` + letterColumns + ` FROM dead_letters` + where.clause() + ` ORDER BY failed_at DESC, id DESC` + where.limit(f.Limit)
	all, err := list(ctx, s.read, func(row scan) (state.DeadLetter, error) {
		var d state.DeadLetter
		err := row(letterFields(&d)...)
		return d, err
	}, query, where.args...)
	return all, s.failed(ctx, "read dead letters", err)
}

// DeadLetter implements [state.DeadLetterReader].
func (s *Store) DeadLetter(ctx context.Context, id string) (state.DeadLetter, error) {
	var d state.DeadLetter
	row := s.read.QueryRowContext(ctx, `SELECT `+letterColumns+`, body FROM dead_letters WHERE id = $1`, id)
	err := row.Scan(append(letterFields(&d), &d.Body)...)
	return d, s.failed(ctx, "read dead letter "+id, err)
}

// conditions collects a WHERE clause and its arguments.
type conditions struct {
	terms []string
	args  []any
}

func (c *conditions) equal(column string, value any, wanted bool) {
	if wanted {
		c.args = append(c.args, value)
		c.terms = append(c.terms, fmt.Sprintf("%s = $%d", column, len(c.args)))
	}
}

func (c *conditions) clause() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

func (c *conditions) limit(n int) string {
	if n <= 0 {
		return ""
	}
	c.args = append(c.args, n)
	return fmt.Sprintf(" LIMIT $%d", len(c.args))
}
