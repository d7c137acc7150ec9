// Package text turns contents into text to search in.
//
// [Convert] looks at the media type of a content, at its names if the type
// says nothing, and at its first bytes if these do not either, and reads it
// as plain text, markup, JSON, RTF, PDF, Office Open XML (Word, Excel,
// PowerPoint) or OpenDocument. What cannot be read has a [Reason], a sentence
// for people.
//
// Contents come from strangers. Reading is bounded in bytes read, bytes
// unpacked, nesting and time; no goroutine is started; no reference is
// followed out of a content, and no entity of its own is replaced. The same
// content gives the same text, unless time runs out.
//
// # Lives here, and never does
//
// Formats, charsets and limits. Records, where contents are kept, and what is
// done with their words do not; neither do pictures, formulas, styles and
// metadata of documents.
package text
