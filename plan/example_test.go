package plan_test

import (
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

func ExampleDecide() {
	saved := gapless.Checkpoint{Partition: "asset", Run: "r1", Seq: 5, Position: "12"}
	facts := plan.Facts{
		Partition: "asset", Model: gapless.ModelLog, LastOutcome: plan.OutcomeComplete,
		Destination: saved, State: saved, SourcePosition: "15",
	}
	fmt.Println(plan.Decide(facts).Text())

	facts.PositionExpired = true
	fmt.Println(plan.Decide(facts).Text())
	// Output:
	// asset: incremental from "12" up to "15" (P11: the source has moved since the checkpoint, on which destination and state agree)
	// asset: full up to "15" (P5: the source says that the checkpoint's position has expired or is unknown)
}
