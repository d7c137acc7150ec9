package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

// Acquire implements [state.Leaser].
func (s *Store) Acquire(ctx context.Context, connector, holder string, ttl time.Duration, now time.Time) (state.Lease, error) {
	l := state.Lease{Connector: connector, Holder: holder, Until: now.Add(ttl).UTC()}
	switch {
	case connector == "" || connector != text(connector):
		return state.Lease{}, fmt.Errorf("acquire the lease: connector %q has no usable name", connector)
	case holder == "" || holder != text(holder):
		return state.Lease{}, fmt.Errorf("acquire the lease of %s: holder %q has no usable name", connector, holder)
	case ttl <= 0 || now.IsZero():
		return state.Lease{}, fmt.Errorf("acquire the lease of %s: %s from %s is no time to hold it", connector, ttl, now)
	}
	err := s.transact(ctx, "acquire the lease of "+connector, func(tx *sql.Tx) error {
		return acquire(ctx, tx, &l, now)
	})
	if err != nil {
		return state.Lease{}, err
	}
	return l, nil
}

func acquire(ctx context.Context, tx *sql.Tx, l *state.Lease, now time.Time) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO connectors (name, destination_id, incarnation, epoch, holder, lease_until, commits)
		VALUES ($1, $2, $3, 0, '', 0, 0) ON CONFLICT (name) DO NOTHING`, l.Connector, []byte(""), []byte(""))
	if err != nil {
		return err
	}
	err = tx.QueryRowContext(ctx, `
		UPDATE connectors SET
			epoch = CASE WHEN epoch < $1 THEN $1 ELSE epoch + 1 END, holder = $2, lease_until = $3
		WHERE name = $4 AND lease_until <= $5 RETURNING epoch`,
		max(now.UnixMilli(), 1), l.Holder, nanos(l.Until), l.Connector, nanos(now)).Scan(&l.Epoch)
	if errors.Is(err, sql.ErrNoRows) {
		c, err := scanConnector(tx.QueryRowContext(ctx, selectConnectors+` WHERE name = $1`, l.Connector).Scan)
		if err != nil {
			return err
		}
		return state.NewHeldError(c.Lease)
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE runs SET status = $1, finished = $2, error = $3 WHERE connector = $4 AND status = $5`,
		state.StatusCrashed, nanos(now), "its runner died or lost its lease before the run ended", l.Connector, state.StatusRunning)
	return err
}

// Renew implements [state.Leaser].
func (s *Store) Renew(ctx context.Context, l state.Lease, ttl time.Duration, now time.Time) (state.Lease, error) {
	if ttl <= 0 || now.IsZero() {
		return state.Lease{}, fmt.Errorf("renew the lease of %s: %s from %s is no time to hold it", l.Connector, ttl, now)
	}
	l.Until = now.Add(ttl).UTC()
	err := s.transact(ctx, "renew the lease of "+l.Connector, func(tx *sql.Tx) error {
		return current(ctx, tx, l, `lease_until = $4`, nanos(l.Until))
	})
	if err != nil {
		return state.Lease{}, err
	}
	return l, nil
}

// Release implements [state.Leaser].
func (s *Store) Release(ctx context.Context, l state.Lease) error {
	return s.transact(ctx, "release the lease of "+l.Connector, func(tx *sql.Tx) error {
		return current(ctx, tx, l, `lease_until = 0, holder = ''`)
	})
}

// current sets columns of the connector if the lease still counts, and fails
// with [gapless.ErrFenced] otherwise. The update keeps the row locked until
// the transaction ends, so nobody takes over in between.
func current(ctx context.Context, tx *sql.Tx, l state.Lease, set string, args ...any) error {
	result, err := tx.ExecContext(ctx, `UPDATE connectors SET `+set+` WHERE name = $1 AND epoch = $2 AND holder = $3`,
		append([]any{l.Connector, l.Epoch, l.Holder}, args...)...)
	if err != nil {
		return err
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if rows == 0 || l.Holder == "" {
		return gapless.Errorf(gapless.CodeFenced, l.Connector, "epoch %d: %w", l.Epoch, gapless.ErrFenced)
	}
	return nil
}
