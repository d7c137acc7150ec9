package transfer

import "os"

// writebackStep is how much of a large file comes before it is written to disk,
// while more comes.
const writebackStep = 32 << 20

// writeback writes a file to disk while it grows, so that little is left to wait
// for in the end.
type writeback struct {
	file *os.File
	// at is how much of the file had come when it was last begun.
	at int64
	// done receives the outcome; nil if nothing is under way.
	done chan error
}

// grown begins to write if enough has come and nothing is under way.
func (w *writeback) grown(offset int64) error {
	if w.at == 0 {
		w.at = offset
	}
	if offset-w.at < writebackStep {
		return nil
	}
	if w.done != nil {
		select {
		case err := <-w.done:
			w.done = nil
			if err != nil {
				return err
			}
		default:
			return nil
		}
	}
	w.at = offset
	done := make(chan error, 1)
	w.done = done
	go func() { done <- w.file.Sync() }()
	return nil
}

// wait waits for what is under way.
func (w *writeback) wait() error {
	if w.done == nil {
		return nil
	}
	return <-w.done
}
