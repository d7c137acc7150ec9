package proof_test

import (
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

func Example() {
	batch := &gapless.Batch{}
	batch.Append(gapless.Change{Record: gapless.Record{Key: "a", Data: []byte(`{"x":1}`)}})
	batch.Append(gapless.Change{Record: gapless.Record{Key: "b", Data: []byte(`{"x":2}`)}})

	c := proof.Certificate{Connector: "docs", Partition: "asset", Run: "r1", Mode: proof.ModeFull, To: "p1", Complete: true}
	for i := range batch.Len() {
		h := proof.Delivery(proof.RowHash(batch, i))
		c.Read.Add(h)
		if i == 0 { // the second row gets lost
			c.Pushed.Add(h)
		}
	}
	c.Synced = c.Pushed
	c.Checkpoint = gapless.Checkpoint{Partition: "asset", Position: "p1", Run: "r1", Seq: 1}
	c.Seal(nil)
	fmt.Println(c.Verify())
	// Output: certificate does not balance: 1 of 2 rows read are not accounted for
}
