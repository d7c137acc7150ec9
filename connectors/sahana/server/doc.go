// Package server is the passive side of Sahana Eden's synchronisation, as an
// [http.Handler]: registration of repositories, sync.xml, and the resources by
// REST.
//
// Records live in a [Store], one collection per table, in the form of package
// s3; which of two versions wins is decided by package resolve, and what was
// not taken goes into the table sync_conflict. Components stay in the record of
// their master, and are resolved one by one.
//
// # What has changed since
//
// Clients ask by msince, which they take from the records they got. A record
// that came late with an old time, or one dated in the future, would be lost
// that way. So the server counts: every change has a sequence number, and what
// a registered repository asks for is what has changed since the last answer
// that it took. Its next msince tells whether it took one: an Eden asks with
// the latest time it got plus one second. Whoever is not registered gets what
// was modified, or has arrived here, since the time it names.
//
// No storage, no configuration and no credentials live here.
package server
