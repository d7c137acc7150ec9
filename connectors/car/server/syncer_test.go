package server

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSyncer: whoever comes while a sync runs waits for the next, all for the
// same one, and is told how that one went.
func TestSyncer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s syncer
		var calls int
		sync1 := func() error {
			calls++
			<-time.After(time.Second)
			if calls == 2 {
				return errors.New("the second fails")
			}
			return nil
		}
		var working sync.WaitGroup
		failed := make([]bool, 10)
		for i := range failed {
			working.Go(func() {
				if i > 0 {
					<-time.After(500 * time.Millisecond)
				}
				failed[i] = s.do(sync1) != nil
			})
		}
		working.Wait()
		if calls != 2 || failed[0] {
			t.Errorf("%d syncs, the first failed: %v", calls, failed[0])
		}
		for i := 1; i < len(failed); i++ {
			if !failed[i] {
				t.Errorf("waiter %d was told that the second sync went well", i)
			}
		}
		if err := s.do(sync1); err != nil || calls != 3 {
			t.Errorf("%d syncs, %v", calls, err)
		}
	})
}

// TestSyncThatPanics: nothing is durable for those who wait for it.
func TestSyncThatPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s syncer
		panics := func() error { <-time.After(time.Second); panic("damaged") }
		go func() { _ = s.do(func() error { <-time.After(time.Second); return nil }) }()
		synctest.Wait()
		go func() {
			defer func() { _ = recover() }()
			_ = s.do(panics)
		}()
		synctest.Wait()
		if err := s.do(panics); err == nil {
			t.Error("a sync that panicked has synced")
		}
	})
}
