// Package framework is what authors of CAR connectors build on: an [App] with
// the options, environment names, exit codes and log lines of the original
// framework, and hooks with its names, so that a connector is ported method by
// method.
//
// The hooks hand rows to a [DataHandler], which drops duplicates, validates
// against the service's import schema and writes to a journal on disk. A
// source of the SDK reads behind it, and the engine does the rest: whether the
// import is full or incremental, retries, checkpoints, resuming a full import
// that was killed, one runner per source.
//
// No request to a CAR service is made here but through package car, and no
// state is kept but the engine's and the journal.
package framework
