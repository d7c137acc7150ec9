package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

// Status is what a project knows of itself without asking any outside system.
type Status struct {
	// Config and State are the paths of file and folder.
	Config string `json:"config"`
	State  string `json:"state"`
	// Daemon is nil unless one answered.
	Daemon     *Daemon           `json:"daemon,omitempty"`
	Connectors []ConnectorStatus `json:"connectors"`
	// Hub is nil if the project has none yet; HubError says why it could not
	// be asked.
	Hub      *HubStatus `json:"hub,omitempty"`
	HubError string     `json:"hub_error,omitempty"`
}

// Daemon says which process owns the project.
type Daemon struct {
	Process int       `json:"process"`
	Started time.Time `json:"started"`
	// Address of the HTTP listener.
	Address string `json:"address"`
}

// ConnectorStatus is what is known of one configured connector.
type ConnectorStatus struct {
	Name string `json:"name"`
	// From and To are kinds of connectors; a two-way connector has Between
	// instead, the kinds of its sides.
	From    string   `json:"from,omitempty"`
	To      string   `json:"to,omitempty"`
	Between []string `json:"between,omitempty"`
	// LastRun is nil before the first.
	LastRun *RunStatus `json:"last_run,omitempty"`
	// Runner holds the connector's lease; nil if nobody does.
	Runner     *Runner           `json:"runner,omitempty"`
	Partitions []PartitionStatus `json:"partitions"`
	// Records known to be at the destination; of a two-way connector, at its
	// first side.
	Records uint64 `json:"records"`
	// DeadLetters that are open.
	DeadLetters int `json:"dead_letters"`
	// Conflicts that are open.
	Conflicts int `json:"conflicts,omitempty"`
}

// Route says between which kinds records go.
func (c ConnectorStatus) Route() string {
	if len(c.Between) > 0 {
		return strings.Join(c.Between, " <-> ")
	}
	return c.From + " -> " + c.To
}

// RunStatus is one run.
type RunStatus struct {
	ID       string    `json:"id"`
	Status   string    `json:"status"`
	Exit     int       `json:"exit"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	Error    string    `json:"error,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Plan     string    `json:"plan,omitempty"`
	// Summary is nil while it runs, or if it ended without one.
	Summary *engine.Summary `json:"summary,omitempty"`
}

// Runner is who holds a lease.
type Runner struct {
	Holder string    `json:"holder"`
	Epoch  uint64    `json:"epoch"`
	Until  time.Time `json:"until"`
}

// PartitionStatus is what is remembered of one partition.
type PartitionStatus struct {
	ID         string             `json:"id"`
	Records    uint64             `json:"records"`
	Checkpoint gapless.Checkpoint `json:"checkpoint"`
	Outcome    plan.Outcome       `json:"outcome"`
	Rule       string             `json:"rule,omitempty"`
	Run        string             `json:"run,omitempty"`
	Error      string             `json:"error,omitempty"`
	Code       string             `json:"code,omitempty"`
	Updated    time.Time          `json:"updated"`
}

// HubStatus is how far the hub is.
type HubStatus struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
	Records     uint64 `json:"records"`
	// Serials of the last change that was accepted, is durable, and can be
	// found.
	Pushed     uint64 `json:"pushed"`
	Synced     uint64 `json:"synced"`
	Searchable uint64 `json:"searchable"`
	Search     bool   `json:"search"`
	// Disk is the size of the record store's files in bytes.
	Disk        uint64             `json:"disk_bytes"`
	Collections []CollectionStatus `json:"collections"`
}

// CollectionStatus is one collection of the hub.
type CollectionStatus struct {
	Connector string `json:"connector"`
	Name      string `json:"name"`
	Records   uint64 `json:"records"`
	// Bytes of records and parts.
	Bytes uint64 `json:"bytes"`
}

// Status gathers the status at time now.
func (p *Project) Status(ctx context.Context, now time.Time) (Status, error) {
	s := Status{Config: p.Config.File, State: p.Config.State, Connectors: []ConnectorStatus{}}
	for _, c := range p.Config.Connectors {
		one, err := p.connectorStatus(ctx, c, now)
		if err != nil {
			return s, fmt.Errorf("read the state of %s: %w", c.Name, err)
		}
		s.Connectors = append(s.Connectors, one)
	}
	if !p.hasHub() {
		return s, nil
	}
	h, err := p.hubStatus(ctx)
	if err != nil {
		s.HubError = err.Error()
		return s, nil
	}
	s.Hub = h
	return s, nil
}

func (p *Project) connectorStatus(ctx context.Context, c config.Connector, now time.Time) (ConnectorStatus, error) {
	s := ConnectorStatus{Name: c.Name, From: c.From.Kind, To: c.To.Kind, Partitions: []PartitionStatus{}}
	if c.Between != nil {
		for _, side := range c.Between.Sides {
			s.Between = append(s.Between, side.Kind)
		}
	}
	known, err := p.Store.Connector(ctx, c.Name)
	switch {
	case errors.Is(err, gapless.ErrNotFound):
		return s, nil
	case err != nil:
		return s, err
	}
	if l := known.Lease; l.Holder != "" && l.Until.After(now) {
		s.Runner = &Runner{Holder: l.Holder, Epoch: l.Epoch, Until: l.Until}
	}
	if s.LastRun, err = LastRun(ctx, p.Store, c.Name); err != nil {
		return s, err
	}
	partitions, err := p.Store.Partitions(ctx, c.Name)
	if err != nil {
		return s, err
	}
	for _, q := range partitions {
		if c.Between == nil || strings.HasPrefix(q.ID, state.This.String()+"/") {
			s.Records += q.Records
		}
		s.Partitions = append(s.Partitions, PartitionStatus{
			ID: q.ID, Records: q.Records, Checkpoint: q.Checkpoint, Outcome: q.Outcome, Rule: q.Rule,
			Run: q.LastRun, Error: q.Error, Code: q.ErrorCode, Updated: q.Updated,
		})
	}
	letters, err := p.Store.DeadLetters(ctx, state.DeadLetterFilter{Connector: c.Name, Open: true})
	if err != nil {
		return s, err
	}
	conflicts, err := p.Store.Conflicts(ctx, state.ConflictFilter{Connector: c.Name, Open: true})
	s.DeadLetters, s.Conflicts = len(letters), len(conflicts)
	return s, err
}

// LastRun returns the newest run of a connector, or nil if there is none.
func LastRun(ctx context.Context, store state.ProgressReader, connector string) (*RunStatus, error) {
	runs, err := store.Runs(ctx, connector, 1)
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	r := runs[0]
	s := &RunStatus{
		ID: r.ID, Status: r.Status, Exit: r.Exit, Started: r.Started, Finished: r.Finished,
		Error: r.Error, Hint: r.Hint, Plan: r.PlanID,
	}
	if len(r.Summary) > 0 {
		s.Summary = &engine.Summary{}
		if err := json.Unmarshal(r.Summary, s.Summary); err != nil {
			return nil, fmt.Errorf("decode the summary of run %s: %w", r.ID, err)
		}
	}
	return s, nil
}
