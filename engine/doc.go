// Package engine performs one run: plan, read, map, compare, push, sync,
// certify, checkpoint. It meets connectors only as interfaces of the SDK.
//
// The order of the durable steps of a partition is what keeps it gapless:
//
//  1. The source's position is taken before anything is read.
//  2. Dead letters are stored before a checkpoint passes their records.
//  3. What the comparison has seen is on disk before the record is pushed.
//  4. The destination syncs data and checkpoint, data first.
//  5. The next fingerprints take the place of the old ones.
//  6. State remembers the checkpoint together with its certificate.
//
// Killed between any two of them, the next run finds out by comparing the two
// checkpoints and the label of the fingerprints, and does more work, never
// less.
//
// Verify compares what both ends hold by themselves, without trusting any of
// that, and writes nothing. Repair stores the keys that it finds for a run to
// bring, so that what is pushed and deleted goes by the same steps.
//
// No configuration file, no terminal and no protocol is known here.
package engine
