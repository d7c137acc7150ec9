// Package transfer brings wanted files into a folder: every byte verified
// against the hash that was promised, several at a time, and continued where an
// earlier attempt ended.
//
// A file has its final name only when its content is verified and durable;
// until then it lies in the folder .gapless of the target, beside the journal
// of what was verified. Nothing is ever written outside the target.
//
// Where files come from is a [Supplier]: [Web] fetches URLs, and [Untar] is what
// suppliers of archives share. How carts are ordered, what an event means and
// what is shown to a person live elsewhere.
package transfer
