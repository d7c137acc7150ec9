// Package state says what the engine remembers between runs, and by which
// contract: connectors with their leases and epochs, partitions with their
// checkpoints, runs, plans, certificates and dead letters; of two-way connectors
// also the ledger of both sides and the conflict inbox.
//
// Only the types and the [Store] interface live here. A store is a folder
// below: state/sqlite on one node. Whether a run should be full or
// incremental is decided by package plan, whether an account adds up by
// package proof; a store keeps what it is given and gives it back unchanged.
//
// Three promises carry the rest of the engine:
//
//   - A [Commit] is one transaction: after a crash all of it is there or none
//     of it, and all of it if Commit had returned nil.
//   - Every commit, renewal and release names the lease it is made under. Once
//     the lease is released or a newer epoch was acquired, they return
//     [gapless.ErrFenced] and change nothing.
//   - Identifiers and keys are kept as bytes: any byte is allowed in partition
//     ids, keys, positions, marks and origins, including NUL. Texts for people
//     (errors, hints, reasons) must be shown everywhere, so bytes in them that
//     are not UTF-8 are replaced when they are stored.
//
// Times are stored as Unix nanoseconds and come back in UTC.
package state
