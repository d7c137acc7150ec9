// Package proof keeps the books of every run: order-independent digests of
// rows, certificates that account for each partition of a run, the chain they
// form, and the check of both.
//
// Nothing here reads a clock, a file or the network, and nothing starts a
// goroutine: the engine fills in certificates, a store keeps them, and
// [Checker] is handed them again.
//
// # The balance
//
// Each row that a source emits is hashed once, when it is read, and added to
// Read. It then becomes exactly one of four things, and is added there with
// the same hash:
//
//	Read = Unchanged + Filtered + Rejected + Pushed
//	Synced = Pushed
//
// Both hold as multisets of rows (count and sum of hashes), so that a row
// dropped, doubled, altered or exchanged between reading and pushing shows.
// With a mapping, Pushed and Synced are over the mapped bytes: then the first
// equation holds for the counts alone, the second still in full.
//
// Upserts, patches and deletes that the source emitted are rows like any
// other. Deletes by absence were never emitted: they are in Deleted and
// nowhere else. A record that the source could not deliver is in Read and
// Rejected, by [RejectionDelivery]. A row that the destination refuses after
// it had accepted it moves from Pushed to Rejected. A key that stands twice in
// an enumeration is two rows. A batch that is pushed again after a failure
// counts once.
//
// A run that did not complete lost rows on the way, which the next one reads
// again; its certificate only has to claim no more than it read, and no more
// synced than pushed.
//
// # The chain
//
// Certificates of one partition are numbered and each names the hash of its
// predecessor. [Checker] walks them and follows up to where the destination is
// covered: a full run starts anew, an incremental one must begin at a position
// that is covered, with the fingerprint and destination that the covered
// records have. A run that is killed leaves no certificate of its own; whoever
// saves checkpoints saves the incomplete certificate so far with them, and
// seals that one before the next run's.
//
// # Ranges
//
// Two sides are compared by the sums of what they hold, [gapless.RangeSum],
// without handing over records: [CompareSums] names the ranges that differ,
// [Unequal.Pieces] says whether to cut such a range further or to list it, and
// [CompareContents] names the keys in it that are missing, differ or are
// extra. [Sums] adds up a side that can only be read.
//
// Digests are not cryptographic; the hashes of certificates are, but nothing
// is signed: the chain shows alteration and loss, not a forger who rewrites
// all of it together with the checkpoints of state and destination.
package proof
