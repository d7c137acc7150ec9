package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

// SavePlan implements [state.PlanKeeper].
func (s *Store) SavePlan(ctx context.Context, p plan.Plan) error {
	doing := "save plan " + p.ID
	if p.ID == "" || p.Connector == "" {
		return fmt.Errorf("%s of %q: a plan needs an id and a connector", doing, p.Connector)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.transact(ctx, doing, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO plans (id, connector, saved, body)
			VALUES ($1, $2, (SELECT COALESCE(MAX(saved), 0) + 1 FROM plans WHERE connector = $2), $3)
			ON CONFLICT (id) DO UPDATE SET connector = excluded.connector, saved = excluded.saved, body = excluded.body`,
			p.ID, p.Connector, body)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			DELETE FROM plans WHERE connector = $1 AND saved < (
				SELECT MIN(saved) FROM (
					SELECT saved FROM plans WHERE connector = $1 ORDER BY saved DESC LIMIT $2) AS kept)`,
			p.Connector, state.KeptPlans)
		return err
	})
}

// Plan implements [state.PlanKeeper].
func (s *Store) Plan(ctx context.Context, id string) (plan.Plan, error) {
	var p plan.Plan
	var body []byte
	err := s.read.QueryRowContext(ctx, `SELECT body FROM plans WHERE id = $1`, id).Scan(&body)
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	return p, s.failed(ctx, "read plan "+id, err)
}
