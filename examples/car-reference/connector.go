package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/gapless-sync/gapless/connectors/car/framework"
)

// row is a row of any table of the data source; each has some of the fields.
type row struct {
	PK              int     `json:"pk"`
	Name            string  `json:"name"`
	Address         string  `json:"address"`
	Description     string  `json:"description"`
	Type            string  `json:"type"`
	InitialValue    float64 `json:"initial_value"`
	Score           float64 `json:"score"`
	Number          int     `json:"number"`
	Protocol        string  `json:"protocol"`
	Asset           int     `json:"asset"`
	Site            int     `json:"site"`
	Ports           []int   `json:"ports"`
	Vulnerabilities []int   `json:"vulnerabilities"`
}

func (r *row) id() string { return strconv.Itoa(r.PK) }

// vertex is what a row is in CAR.
type vertex struct {
	Key          string  `json:"_key,omitempty"`
	ExternalID   string  `json:"external_id,omitempty"`
	Name         string  `json:"name,omitempty"`
	Description  string  `json:"description,omitempty"`
	AssetType    string  `json:"asset_type,omitempty"`
	InitialValue float64 `json:"initial_value,omitempty"`
	BaseScore    float64 `json:"base_score,omitempty"`
	Number       int     `json:"port_number,omitempty"`
	Protocol     string  `json:"protocol,omitempty"`
}

// edge is an edge of the collection in. An end with a key is written with the
// name of its collection.
type edge struct {
	in      string
	From    string `json:"_from_external_id,omitempty"`
	To      string `json:"_to_external_id,omitempty"`
	FromKey string `json:"_from,omitempty"`
	ToKey   string `json:"_to,omitempty"`
}

// with returns an edge like e to each of some rows, and others.
func (e edge) with(rows []int, others ...edge) []edge {
	for _, pk := range rows {
		e.To = strconv.Itoa(pk)
		others = append(others, e)
	}
	return others
}

// mapping says what becomes of the rows of one table.
type mapping struct {
	table, collection string
	vertex            func(*row) vertex
	// edges that belong to a row, and the names of their collections: those
	// that CAR has beside them are gone.
	edges func(*row) []edge
	owns  []string
}

func mappings() []mapping {
	return []mapping{
		{table: "vulnerabilities", collection: "vulnerability", vertex: func(r *row) vertex {
			return vertex{ExternalID: r.id(), Name: r.Name, Description: r.Description, BaseScore: r.Score}
		}},
		{table: "sites", collection: "site", vertex: func(r *row) vertex {
			return vertex{ExternalID: r.id(), Name: r.Name, Description: r.Address}
		}},
		{table: "ports", collection: "port", vertex: func(r *row) vertex {
			return vertex{ExternalID: r.id(), Number: r.Number, Protocol: r.Protocol}
		}},
		{table: "assets", collection: "asset", owns: []string{"site_asset", "asset_vulnerability"}, vertex: func(r *row) vertex {
			return vertex{ExternalID: r.id(), Name: r.Name, AssetType: r.Type, InitialValue: r.InitialValue}
		}, edges: func(r *row) []edge {
			return edge{in: "asset_vulnerability", From: r.id()}.with(r.Vulnerabilities, edge{in: "site_asset", From: strconv.Itoa(r.Site), To: r.id()})
		}},
		{table: "ip_addresses", collection: "ipaddress", owns: []string{"asset_ipaddress", "ipaddress_port"}, vertex: func(r *row) vertex {
			return vertex{Key: r.Address}
		}, edges: func(r *row) []edge {
			key := "ipaddress/" + r.Address
			return edge{in: "ipaddress_port", FromKey: key}.with(r.Ports, edge{in: "asset_ipaddress", From: strconv.Itoa(r.Asset), ToKey: key})
		}},
		{table: "mac_addresses", collection: "macaddress", owns: []string{"asset_macaddress"}, vertex: func(r *row) vertex {
			return vertex{Key: r.Address}
		}, edges: func(r *row) []edge {
			return []edge{{in: "asset_macaddress", From: strconv.Itoa(r.Asset), ToKey: "macaddress/" + r.Address}}
		}},
		{table: "hosts", collection: "hostname", owns: []string{"asset_hostname"}, vertex: func(r *row) vertex {
			return vertex{Key: r.Name}
		}, edges: func(r *row) []edge {
			return []edge{{in: "asset_hostname", From: strconv.Itoa(r.Asset), ToKey: "hostname/" + r.Name}}
		}},
		{table: "apps", collection: "application", owns: []string{"application_port", "application_vulnerability"}, vertex: func(r *row) vertex {
			return vertex{ExternalID: r.id(), Name: r.Name}
		}, edges: func(r *row) []edge {
			ports := edge{in: "application_port", From: r.id()}.with(r.Ports)
			return edge{in: "application_vulnerability", From: r.id()}.with(r.Vulnerabilities, ports...)
		}},
	}
}

// hand gives a row to the import, with its edges.
func (m *mapping) hand(r *row, data *framework.DataHandler) error {
	if err := data.AddCollection(m.collection, m.vertex(r), ""); err != nil || m.edges == nil {
		return err
	}
	for _, e := range m.edges(r) {
		if err := data.AddEdge(e.in, e); err != nil {
			return err
		}
	}
	return nil
}

func newConnector(s *source) framework.Connector {
	return framework.Connector{
		AssetServer: s,
		Full:        &fullImport{s},
		Incremental: &incrementalImport{source: s},
		Extension: &framework.SchemaExtension{
			Key: "0b3f4c1e-6a3e-4d8b-9d0c-52a6e1f7c9aa", Owner: "car-reference", Version: "1",
			Schema: json.RawMessage(`{
				"vertices": [
					{"name": "site", "properties": {"name": {"type": "text"}, "description": {"type": "text"}}},
					{"name": "asset", "properties": {"initial_value": {"type": "numeric"}}}
				],
				"edges": [{"end1": "site", "end2": "asset"}]
			}`),
		},
		Description: "The reference data source",
	}
}

// fullImport reads every table.
type fullImport struct{ *source }

// NewModelStateID implements [framework.FullImport].
func (f *fullImport) NewModelStateID(ctx context.Context) (string, error) { return f.modelStateID(ctx) }

// ImportVertices implements [framework.FullImport]. The edges stand in the same
// rows, so they are handed over at once.
func (f *fullImport) ImportVertices(ctx context.Context, data *framework.DataHandler) error {
	for _, m := range mappings() {
		if err := f.all(ctx, m.table, func(r *row) error { return m.hand(r, data) }); err != nil {
			return err
		}
	}
	return nil
}

// ImportEdges implements [framework.FullImport].
func (*fullImport) ImportEdges(context.Context, *framework.DataHandler) error { return nil }

// incrementalImport reads what has changed.
type incrementalImport struct {
	*source
	delta map[string]tableDelta
	// there are the keys of the vertices that this import brings, by
	// collection.
	there map[string]map[string]bool
}

// DataForDelta implements [framework.IncrementalImport].
func (i *incrementalImport) DataForDelta(ctx context.Context, last, next string) (err error) {
	i.delta, err = i.changes(ctx, last, next)
	return err
}

// ImportVertices implements [framework.IncrementalImport].
func (i *incrementalImport) ImportVertices(ctx context.Context, data *framework.DataHandler) error {
	i.there = map[string]map[string]bool{}
	for _, m := range mappings() {
		keys := map[string]bool{}
		err := i.some(ctx, m.table, i.delta[m.table].Updates, func(r *row) error {
			v := m.vertex(r)
			keys[v.Key+v.ExternalID] = true // one of them
			return m.hand(r, data)
		})
		if err != nil {
			return err
		}
		i.there[m.collection] = keys
	}
	return nil
}

// ImportEdges implements [framework.IncrementalImport]: every edge that a
// changed row has now was handed over, so any other that CAR has of it is gone.
func (i *incrementalImport) ImportEdges(ctx context.Context, data *framework.DataHandler) error {
	for _, m := range mappings() {
		owners := slices.Collect(maps.Keys(i.there[m.collection]))
		for _, edges := range m.owns {
			if err := data.DisableVanished(ctx, edges, m.collection, owners...); err != nil {
				return err
			}
		}
	}
	return nil
}

// DeleteVertices implements [framework.IncrementalImport]. CAR knows vertices
// by their keys, which the log of changes keeps for it. A key that another row
// has now is not gone.
func (i *incrementalImport) DeleteVertices(_ context.Context, data *framework.DataHandler) error {
	for _, m := range mappings() {
		for _, gone := range i.delta[m.table].Deletions {
			if i.there[m.collection][gone.Key] {
				continue
			}
			if err := data.DeleteVertices(m.collection, gone.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
