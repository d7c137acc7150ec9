// Package plan decides what a run does with each partition: facts in,
// decision out, with the rule that fired and a reason an operator
// understands.
//
// [Decide] is a pure function over [Facts]; [Rules] is its table for the
// documentation and the command line; [Plan] gathers the decisions of one
// connector under an id that an operator can approve. A mode cheaper than full
// is chosen only where the facts exclude a gap: whatever is unknown counts
// against it.
//
// No clock, store, network or goroutine ever lives here. Whoever gathers the
// facts answers for them; the fields of [Facts] say what each one promises.
package plan
