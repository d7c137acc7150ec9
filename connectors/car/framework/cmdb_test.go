package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/gapless-sync/gapless/connectors/car"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// cmdb is a data source in memory: assets with one address each, and a log of
// what changed.
type cmdb struct {
	// assets have an address, by id.
	assets map[int]string
	log    []int // the asset that each change was about
	// forgotten is how much of the log is gone.
	forgotten int
	// fail is called at the start of each hook, and of some within.
	fail func(hook string) error
}

func newCMDB(n int) *cmdb {
	c := &cmdb{assets: map[int]string{}, fail: func(string) error { return nil }}
	for i := range n {
		c.set(i, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	return c
}

func (c *cmdb) set(id int, address string) {
	c.assets[id] = address
	c.log = append(c.log, id)
}

func (c *cmdb) remove(id int) {
	delete(c.assets, id)
	c.log = append(c.log, id)
}

// want returns what a service holds that is in step.
func (c *cmdb) want() []string {
	all := map[string]bool{}
	for id, address := range c.assets {
		all[car.ModelKey("asset", strconv.Itoa(id))] = true
		all[car.ModelKey("ipaddress", address)] = true
		all[car.ModelKey("asset_ipaddress", wire.EdgeKey(strconv.Itoa(id), address))] = true
	}
	list := make([]string, 0, len(all))
	for key := range all {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

func (c *cmdb) connector() Connector {
	return Connector{AssetServer: c, Full: (*cmdbFull)(c), Incremental: &cmdbChanges{cmdb: c}}
}

// TestConnection implements [AssetServer].
func (c *cmdb) TestConnection(context.Context) error { return c.fail("TestConnection") }

func (c *cmdb) add(data *DataHandler, id int) error {
	address := c.assets[id]
	row := map[string]any{"external_id": strconv.Itoa(id), "name": fmt.Sprintf("asset%d <&>", id)}
	if err := data.AddCollection("asset", row, "external_id"); err != nil {
		return err
	}
	return data.AddCollection("ipaddress", json.RawMessage(`{"_key": "`+address+`"}`), "_key")
}

func (c *cmdb) addEdge(data *DataHandler, id int) error {
	return data.AddEdge("asset_ipaddress", map[string]string{"_from_external_id": strconv.Itoa(id), "_to": "ipaddress/" + c.assets[id]})
}

func (c *cmdb) ids() []int {
	list := make([]int, 0, len(c.assets))
	for id := range c.assets {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

type cmdbFull cmdb

func (f *cmdbFull) NewModelStateID(context.Context) (string, error) {
	return strconv.Itoa(len(f.log)), f.fail("NewModelStateID")
}

func (f *cmdbFull) ImportVertices(_ context.Context, data *DataHandler) error {
	c := (*cmdb)(f)
	if err := c.fail("ImportVertices"); err != nil {
		return err
	}
	for _, id := range c.ids() {
		if err := c.add(data, id); err != nil {
			return err
		}
	}
	return c.fail("after ImportVertices")
}

func (f *cmdbFull) ImportEdges(_ context.Context, data *DataHandler) error {
	c := (*cmdb)(f)
	if err := c.fail("ImportEdges"); err != nil {
		return err
	}
	for _, id := range c.ids() {
		if err := c.addEdge(data, id); err != nil {
			return err
		}
	}
	return nil
}

type cmdbChanges struct {
	*cmdb
	updated, deleted []int
}

func (i *cmdbChanges) DataForDelta(_ context.Context, last, next string) error {
	if err := i.fail("DataForDelta"); err != nil {
		return err
	}
	from, err := strconv.Atoi(last)
	if err != nil || from < i.forgotten {
		return fmt.Errorf("nothing is known of state %q: %w", last, ErrIncrementalNotPossible)
	}
	to, err := strconv.Atoi(next)
	if err != nil {
		return err
	}
	i.updated, i.deleted = nil, nil
	changed := slices.Compact(slices.Sorted(slices.Values(i.log[from:to])))
	for _, id := range changed {
		if _, there := i.assets[id]; there {
			i.updated = append(i.updated, id)
		} else {
			i.deleted = append(i.deleted, id)
		}
	}
	return nil
}

func (i *cmdbChanges) ImportVertices(_ context.Context, data *DataHandler) error {
	for _, id := range i.updated {
		if err := i.add(data, id); err != nil {
			return err
		}
	}
	return i.fail("after ImportVertices of changes")
}

func (i *cmdbChanges) ImportEdges(ctx context.Context, data *DataHandler) error {
	for _, id := range i.updated {
		if err := i.addEdge(data, id); err != nil {
			return err
		}
	}
	owners := make([]string, len(i.updated))
	for n, id := range i.updated {
		owners[n] = strconv.Itoa(id)
	}
	return data.DisableVanished(ctx, "asset_ipaddress", "asset", owners...)
}

func (i *cmdbChanges) DeleteVertices(_ context.Context, data *DataHandler) error {
	for _, id := range i.deleted {
		if err := data.DeleteVertices("asset", strconv.Itoa(id)); err != nil {
			return err
		}
	}
	return i.fail("after DeleteVertices")
}

// pod is where a connector runs again and again.
type pod struct {
	*testing.T
	service *carService
	data    *cmdb
	dir     string
	log     bytes.Buffer
	onStep  func(string)
	change  func(*settings)
	// retries of the client; a test of faults that stay has none.
	retries     int
	syncRecords int
}

func newPod(t *testing.T, assets int) *pod {
	t.Helper()
	return &pod{T: t, service: newCARService(), data: newCMDB(assets), dir: t.TempDir()}
}

// run runs the connector once, in a process of its own as far as it can tell.
func (p *pod) run(ctx context.Context) int {
	p.Helper()
	s := &settings{source: sourceName, name: "demo", exportDir: p.dir, stateDir: p.dir + "/state", pageRows: 50, debug: true, secrets: []string{"password"}}
	if p.change != nil {
		p.change(s)
	}
	p.log.Reset()
	r := importRun{settings: s, connector: p.data.connector(), client: p.service.client(p.T, p.retries), log: newLog(&p.log, s), onStep: p.onStep, syncRecords: p.syncRecords}
	defer r.client.Close()
	return r.run(ctx)
}
