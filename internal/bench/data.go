package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Records lie in no order of their keys, as identifiers of most systems do.
const (
	keyStart  = len(`{"id":"`)
	keyLength = len("rec-") + 16
)

// changedEvery is the distance of records that differ between two revisions.
const changedEvery = 100

// filesPerFolder of a tree.
const filesPerFolder = 100

// fileBytes is about the size of one file of a tree.
const fileBytes = 4096

// spread is a bijection of the numbers below 2^64 that leaves no order, the
// finalizer of splitmix64.
func spread(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// appendRecord writes record i as a JSON object of about 300 bytes. The same
// numbers give the same bytes always.
func appendRecord(dst []byte, i, revision int) []byte {
	const vocabulary = "alpha river stone cloud north seven delta green quiet paper amber field metal ocean tower glass"
	words := strings.Fields(vocabulary)
	random := spread(uint64(i))
	word := func(n int) string { return words[random>>(4*n)&15] }
	if i%changedEvery != 0 {
		revision = 0
	}
	dst = append(dst, `{"id":"rec-`...)
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[random>>shift&15])
	}
	dst = strconv.AppendInt(append(dst, `","name":"Asset number `...), int64(i), 10)
	dst = strconv.AppendBool(append(dst, `","active":`...), random%10 != 0)
	dst = strconv.AppendUint(append(dst, `,"score":`...), random>>8%1000, 10)
	dst = strconv.AppendInt(append(dst, `,"revision":`...), int64(revision), 10)
	dst = append(append(append(dst, `,"tags":["`...), word(0)...), `","`...)
	dst = append(append(dst, word(1)...), `"],"owner":{"name":"`...)
	dst = append(append(append(dst, word(2)...), ' '), word(3)...)
	dst = append(append(dst, `","mail":"`...), word(2)...)
	dst = append(dst, `@example.org"},"updated_at":"2026-01-02T03:04:05Z","description":"`...)
	for n := 4; n < 13; n++ {
		dst = append(append(dst, word(n)...), ' ')
	}
	return append(dst, `and so on."}`...)
}

// writeRecords writes n records, one per line.
func writeRecords(path string, n, revision int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for i := range n {
		line = append(appendRecord(line[:0], i, revision), '\n')
		if _, err := w.Write(line); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Sync(), f.Close())
}

// writeTree writes n files, each a JSON array.
func writeTree(dir string, n int) error {
	var text []byte
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("folder-%04d", i/filesPerFolder))
		if i%filesPerFolder == 0 {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return err
			}
		}
		text = append(text[:0], '[')
		for k := 0; len(text) < fileBytes-300; k++ {
			if k > 0 {
				text = append(text, ",\n"...)
			}
			text = appendRecord(text, i*fileBytes+k, 0)
		}
		text = append(text, "]\n"...)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("document-%06d.json", i)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
