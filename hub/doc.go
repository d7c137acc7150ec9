// Package hub is the embedded destination, and a source: durable records in
// one folder, with statuses, enumeration, a change feed and full-text search.
//
// A record goes through three states. It is pushed once the store has
// accepted it, synced once the disk holds it, and searchable once a query
// would find it. Every change has a serial, a server-wide number that is never
// reused; each state is one watermark over serials, and none ever claims more
// than is true. Enumeration, reading and the change feed see synced records
// only, in a view that later pushes do not disturb.
//
// # Lives here, and never does
//
// Records, parts, checkpoints, fencing epochs, the feed, the search index, and
// the connector that offers them as source and destination. Protocols, plans,
// HTTP, configuration and the formats of parts (see hub/text) do not: servers call the methods of [Hub] and
// [Session].
//
// # Folder
//
//	FORMAT    text: "gapless hub 2"; what format 1 wrote is read as it is
//	LOCK      held while the hub is open
//	records/  the record store (Pebble)
//	search/   the search index (bleve); derived, may be deleted when closed
//
// # Keys of the record store
//
// Numbers in keys are big endian; "uv" is an unsigned varint; a string in a
// value is its length as uv and its bytes.
//
//	key                                        value
//	'm' name                                   store-wide facts: "id", "incarnation" (4 byte counter),
//	                                           "serial" (8 byte reservation, 8 byte base), "lost" (uv pairs)
//	'c' connector name                         id(4) epoch(8) trimmed(8)
//	'w' connector id(4) writer name            id(4) epoch(8)
//	'o' connector id(4) collection name        id(4) flags(1): 1 = has or had parts
//	'k' writer id(4) checkpoint name           position, mark, target, run, seq(uv) epoch(uv)
//	'r' collection id(4) record key            flags(1) serial(uv) [modified(8)] [version] [manifest] data
//	'f' connector id(4) first serial(8)        ordinal(uv) collection id(uv) count(uv) entries
//	'p' incarnation(4) push(8) part(4) chunk(4)  up to 256 KiB of a part
//	'g' incarnation(4) push(8)                 empty: chunks of an unfinished push
//	't' incarnation(4) push(8) part(4)         why a part has no text, or its text; derived
//	's' collection id(4) 0                     version(1) serial(uv) ordinal(uv) records(uv); derived
//	's' collection id(4) 1 key                 count(uv) sum(16) of the stretch that begins at the key; derived
//	'v' number(8)                              a run that can be undone: connector id(4) writer id(4)
//	                                           flags(1): 1 = kept states have parts, until(8), run
//	'u' number(8) collection id(4) record key  a state before that run: flags(1): 1 = there was a record,
//	                                           2 = the run left one, [hash(16) of it] [value as of 'r']
//
// An entry of the feed is op(1) key [modified(8)] [version]; the two uppermost
// bits of op say whether a delete has them.
//
// A connector's records share no key with another's. Whoever writes them under
// a name of its own is a writer, with an epoch and checkpoints; the connector
// itself is one as well, and all their ids are of one kind. One push writes one
// batch: its records and one feed block, which holds operations and keys but
// no data. Chunks of large parts are written ahead of that batch under a 'g'
// marker that the batch removes; what a crash leaves behind a marker is
// deleted by the next Open.
//
// # What runs replace
//
// A session that was told to keep ([Session.Keep]) writes what a record was
// before the run's first change of it into the batch that changes it. The run's
// number is the serial of its first change. A part's chunks belong to one state
// at a time: those of a state that is kept go with it when its time is over, a
// bounded number by every sync and by Open. Sessions that keep nothing neither
// read nor write any of this.
//
// # Sums of ranges
//
// Hubs are compared by the sums of what they hold ([gapless.RangeSummer]). The
// keys of a collection are cut into stretches: one begins at every record whose
// key's hash ends in six zero bits, about every 64th, so that the same keys are
// cut in the same places whatever their history. The sums of stretches are
// stored, and brought up to date by who asks: the feed tells in which stretches
// something has changed, and only those are read again. All of them are read
// the first time, after changes that the feed has forgotten, and after so many
// that it is cheaper. Pushing costs nothing for it, and nothing runs in the
// background.
//
// The mark, at 0, is the last change of the connector that the sums have. It
// moves with the last batch; what a crash leaves before that is stretches that
// are ahead of the mark, and these have changes behind it, for which they are
// read again. A program that does not know the sums leaves them behind, and the
// feed makes up for that as well. [Hub.Recount] computes all anew.
//
// # Serials
//
// Serials are reserved in the store, synced, a block ahead of their use, and
// Open starts behind the reservation: a serial that a crash took back is not
// given to anything else. Open notes such serials in "lost", and
// [Hub.Searchable] answers [gapless.ErrNotFound] for them. The serial behind
// them, the base, is no change's: it stands for what the crash left.
//
// # Failure
//
// The first write that the file system refuses, or corruption, stops the hub:
// no later write of this process reaches the folder, every call returns the
// same recoverable error (a full disk carries [gapless.CodeStoreFull]), and
// nothing exits or panics. Close it and open it again once the cause is gone;
// everything synced is there. A call that is stuck inside the store at that
// moment is abandoned, and may keep its memory until the process ends.
package hub
