// Package s3 speaks the data exchange of Sahana Eden: S3XML and S3JSON,
// the two notations of one document model, and the answers to imports.
//
// A document is a root with attributes and a stream of [Resource] elements. A
// [Decoder] reads it from either notation one top-level resource at a time,
// within [Limits]; an [Encoder] writes it. [Resource.Record] and [FromRecord]
// turn a resource into a [gapless.Record] and back without loss, [Split] and
// [Join] take components out of their masters and put them back, and
// [Field.Read] reads a value as its type asks for.
//
// Where an Eden reads something in a way nobody would expect, [Rules] choose
// between the plain meaning and the one of the original.
//
// No network, no store and no policy of synchronisation lives in the codec:
// what a document says is represented as it stands, and others decide on it.
package s3
