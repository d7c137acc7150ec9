package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

const conflictColumns = "id, connector, run, collection, record_key, field, deletion, loser, held, rule, reason, this, other, " +
	"edited, found_at, take, value, decided_by, decided_at, resolved_at, resolved_by"

func scanConflict(row scan) (state.Conflict, error) {
	var c state.Conflict
	d := &c.Decision
	err := row(&c.ID, &c.Connector, &c.Run, &c.Collection, &c.Key, &c.Field, &c.Deletion, &c.Loser, &c.Held, &c.Rule, &c.Reason,
		&c.This, &c.Other, instant{&c.Edited}, instant{&c.At}, &d.Take, &d.Value, &d.By, instant{&d.At},
		instant{&c.ResolvedAt}, &c.ResolvedBy)
	return c, err
}

// addConflicts leaves those alone that were decided. One that was settled and
// is found again is open again.
func addConflicts(ctx context.Context, tx *sql.Tx, conflicts []state.Conflict) error {
	statement := upsert("conflicts", conflictColumns, "(id)", "run, held, rule, reason, found_at, resolved_at, resolved_by") +
		" WHERE conflicts.take = '' AND conflicts.connector = excluded.connector"
	return each(ctx, tx, statement, conflicts, func(stmt *sql.Stmt, c *state.Conflict) error {
		result, err := stmt.ExecContext(ctx,
			c.ID, c.Connector, c.Run, []byte(c.Collection), []byte(c.Key), []byte(c.Field), c.Deletion, c.Loser, c.Held,
			c.Rule, text(c.Reason), c.This, c.Other, nanos(c.Edited), nanos(c.At), "", nil, "", 0, 0, "")
		if err == nil {
			err = sameConflict(ctx, tx, c, result)
		}
		if err != nil {
			return fmt.Errorf("conflict %s: %w", c.ID, err)
		}
		return nil
	})
}

// sameConflict fails if nothing was stored because the id is that of another
// connector's conflict.
func sameConflict(ctx context.Context, tx *sql.Tx, c *state.Conflict, result sql.Result) error {
	if stored, err := result.RowsAffected(); err != nil || stored > 0 {
		return err
	}
	var owner string
	err := tx.QueryRowContext(ctx, `SELECT connector FROM conflicts WHERE id = $1`, c.ID).Scan(&owner)
	if err == nil && owner != c.Connector {
		err = fmt.Errorf("the id is in use by connector %s", owner)
	}
	return err
}

// Decide implements [state.ConflictKeeper].
func (s *Store) Decide(ctx context.Context, id string, d state.Decision) error {
	doing := "decide conflict " + id
	if err := sensible(&d); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	resolvedAt, resolvedBy := int64(0), ""
	if d.Take == state.TakeNothing {
		resolvedAt, resolvedBy = nanos(d.At), text(d.By)
	}
	return s.transact(ctx, doing, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `
			UPDATE conflicts SET take = $1, value = $2, decided_by = $3, decided_at = $4, resolved_at = $5, resolved_by = $6
			WHERE id = $7 AND resolved_at = 0`,
			d.Take, d.Value, text(d.By), nanos(d.At), resolvedAt, resolvedBy, id)
		if err != nil {
			return err
		}
		if decided, err := result.RowsAffected(); err != nil || decided > 0 {
			return err
		}
		var by string
		if err := tx.QueryRowContext(ctx, `SELECT resolved_by FROM conflicts WHERE id = $1`, id).Scan(&by); err != nil {
			return err
		}
		return gapless.Errorf(gapless.CodeNotFound, id, "%s: %w: it was resolved by %s", doing, gapless.ErrNotFound, by)
	})
}

func sensible(d *state.Decision) error {
	takes := []string{state.TakeThis, state.TakeOther, state.TakeValue, state.TakeNothing}
	switch {
	case !slices.Contains(takes, d.Take):
		return fmt.Errorf("%q is none of %q", d.Take, takes)
	case d.Value != nil && d.Take != state.TakeValue:
		return fmt.Errorf("%s has a value", d.Take)
	case d.Value != nil && !json.Valid(d.Value):
		return fmt.Errorf("value %q is not JSON", d.Value)
	case d.By == "" || d.At.IsZero():
		return fmt.Errorf("who decided it, and when, is missing")
	}
	return nil
}

// Conflicts implements [state.ConflictKeeper].
func (s *Store) Conflicts(ctx context.Context, f state.ConflictFilter) ([]state.Conflict, error) {
	var where conditions
	where.equal("connector", f.Connector, f.Connector != "")
	where.equal("collection", []byte(f.Collection), f.Collection != "")
	where.equal("record_key", []byte(f.Key), f.Key != "")
	where.equal("run", f.Run, f.Run != "")
	where.equal("resolved_at", 0, f.Open || f.Decided)
	if f.Decided {
		where.terms = append(where.terms, "take <> ''")
	}
	where.equal("held", true, f.Held)
	query := `SELECT ` + conflictColumns + ` FROM conflicts` + where.clause() + ` ORDER BY found_at DESC, id DESC` + where.limit(f.Limit)
	all, err := list(ctx, s.read, scanConflict, query, where.args...)
	return all, s.failed(ctx, "read conflicts", err)
}

// Conflict implements [state.ConflictKeeper].
func (s *Store) Conflict(ctx context.Context, id string) (state.Conflict, error) {
	c, err := scanConflict(s.read.QueryRowContext(ctx, `SELECT `+conflictColumns+` FROM conflicts WHERE id = $1`, id).Scan)
	return c, s.failed(ctx, "read conflict "+id, err)
}
