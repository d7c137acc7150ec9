package car

import (
	"testing"

	"github.com/gapless-sync/gapless"
)

// TestEndBeforeAllIsSettled: rows that are still on their way were not seen by
// the service, and it would retire them.
func TestEndBeforeAllIsSettled(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	s := openModel(t, service.client(t), 1, func(o *DestinationOptions) { o.State = t.TempDir() })
	full := s.(gapless.FullRunner)
	if err := full.BeginFull(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	push(t, s, "+ asset/1 {}")
	if err := full.EndFull(t.Context()); err == nil || gapless.KindOf(err) != gapless.KindUnrecoverable {
		t.Errorf("ended with a row that is not synced: %v", err)
	}
	syncAt(t, s, "")
	if err := full.EndFull(t.Context()); err != nil {
		t.Errorf("everything is synced: %v", err)
	}
}
