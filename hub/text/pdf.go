package text

import (
	"errors"

	"github.com/gapless-sync/gapless/hub/text/pdf"
)

func readPDF(w *work, content []byte, _ string) error {
	err := pdf.Text(w.ctx, content, w.add)
	switch {
	case err == nil && len(w.text) == 0:
		return Reason("no text in the PDF: its pages may be pictures")
	case errors.Is(err, pdf.ErrEncrypted):
		return Reason("encrypted PDF")
	case err != nil && !errors.Is(err, errFull):
		return reasonf("unreadable PDF: %v", err)
	}
	return err
}
