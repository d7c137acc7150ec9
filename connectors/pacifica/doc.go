// Package pacifica brings files out of a Pacifica installation: it orders them
// at a cart server, waits until they are staged, and hands them to transfer,
// which proves every byte.
//
// What lives here: the client of the cart server and of the policy server, the
// lists of files that events and transactions name, the downloader that joins
// them, and the source that turns transactions into records. It never writes a
// file itself, never trusts a status for a content, and never sends a
// credential to any host but the one it was given for. The cart server's own
// side is in the folder server.
package pacifica
