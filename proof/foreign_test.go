package proof_test

import (
	"testing"

	"github.com/gapless-sync/gapless/proof"
)

// TestForeignCertificatesAreDetected: one that was sealed in order, for another
// connector.
func TestForeignCertificatesAreDetected(t *testing.T) {
	t.Parallel()
	b := newBooks()
	b.run(proof.ModeFull, nil)
	b.run(proof.ModeIncremental, func(c *proof.Certificate) { c.Connector = "another" })
	if r := b.check(); kinds(r.Gaps) != proof.GapChain {
		t.Errorf("gaps: %s", r.Text())
	}
}
