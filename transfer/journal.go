package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// journal is the file that says what was verified: one line of JSON for each
// file, the last of a path counts. Lines are appended after the files are
// durable under their names; one that is torn or foreign means nothing.
type journal struct {
	file *os.File // nil if there is none and none is to be made
	torn bool     // the last line has no end
}

const journalName = "journal"

// openJournal opens the journal of a state folder, which may be nil.
func openJournal(state *os.Root, writable bool) (*journal, error) {
	if state == nil {
		return &journal{}, nil
	}
	info, err := state.Lstat(journalName)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !writable:
		return &journal{}, nil
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s/%s is not a file", stateFolder, journalName)
	}
	flag := os.O_RDONLY
	if writable {
		flag = os.O_RDWR | os.O_CREATE | os.O_APPEND
	}
	f, err := state.OpenFile(journalName, flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	return &journal{file: f}, nil
}

// mention adds a mention of every file in the journal.
func (j *journal) mention(to *mentions, fold func(string) string) error {
	if j.file == nil {
		return nil
	}
	in := bufio.NewReaderSize(j.file, 2*MaxLine)
	for at := int64(0); ; {
		text, err := in.ReadSlice('\n')
		whole := err == nil
		length := int64(len(text))
		if f, bad := parseLine(text); whole && bad == nil {
			m := mention{key: keyOf(fold(f.Path)), kind: asVerified, at: at, length: uint32(length)}
			err = to.add(m)
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			text, err = in.ReadSlice('\n')
			length += int64(len(text))
		}
		switch {
		case errors.Is(err, io.EOF):
			j.torn = length > 0
			return nil
		case err != nil:
			return fmt.Errorf("read the journal: %w", err)
		}
		at += length
	}
}

// append writes lines, which another process sees all or in part.
func (j *journal) append(lines []byte) error {
	if j.torn {
		lines = append([]byte("\n"), lines...)
		j.torn = false
	}
	if _, err := j.file.Write(lines); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// sync makes the journal durable.
func (j *journal) sync() error {
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("sync the journal: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}
