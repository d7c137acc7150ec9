package server

import (
	"fmt"
	"testing"
)

func TestOldJobsAreForgotten(t *testing.T) {
	t.Parallel()
	var w jobs
	forgotten := 0
	for i := range maxJobs + 5 {
		for _, id := range w.end(fmt.Sprint(i)) {
			if id != fmt.Sprint(forgotten) {
				t.Fatalf("%s was forgotten before %d", id, forgotten)
			}
			forgotten++
		}
	}
	if forgotten != 5 || len(w.ended) != maxJobs {
		t.Errorf("%d forgotten, %d kept", forgotten, len(w.ended))
	}
}

func TestImportIDs(t *testing.T) {
	t.Parallel()
	s := &Server{hub: "0123456789abcdef"}
	if serial, ok := s.importSerial(s.importID(17)); !ok || serial != 17 {
		t.Errorf("%d %v", serial, ok)
	}
	for _, id := range []string{"", "17", "17-", "017-01234567", "0-01234567", "17-12345678", "17-0123456", "-1-01234567", "17-01234567-", "99999999999999999999-01234567"} {
		if serial, ok := s.importSerial(id); ok {
			t.Errorf("%q is import %d", id, serial)
		}
	}
}
