package state

import (
	"encoding/base32"
	"io"
	"time"
)

// runIDAlphabet is in ascending order, so that encoding keeps the order of the
// bytes.
const runIDAlphabet = "0123456789abcdefghijklmnopqrstuv"

// NewRunID returns an id such as r-06dhpq7c005k2m3v: ids sort by now, to the
// millisecond, and within one by chance. It takes four bytes of random, which
// must not fail: crypto/rand.Reader outside tests.
func NewRunID(now time.Time, random io.Reader) string {
	var id [10]byte
	millis := uint64(max(now.UnixMilli(), 0))
	for i := range 6 {
		id[i] = byte(millis >> (8 * (5 - i)))
	}
	_, _ = io.ReadFull(random, id[6:]) // by contract
	return "r-" + base32.NewEncoding(runIDAlphabet).WithPadding(base32.NoPadding).EncodeToString(id[:])
}
