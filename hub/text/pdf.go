package text

import (
	"errors"
	"strings"

	"github.com/gapless-sync/gapless/hub/text/pdf"
)

func readPDF(w *work, content []byte, _ string) error {
	letters := ligatures()
	err := pdf.Text(w.ctx, content, func(text []byte) error {
		return w.add([]byte(letters.Replace(string(text))))
	})
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

// ligatures spells out the joined letters that typesetting leaves in words,
// also those that some fonts keep in the private use area.
func ligatures() *strings.Replacer {
	return strings.NewReplacer(
		"\uFB00", "ff", "\uFB01", "fi", "\uFB02", "fl", "\uFB03", "ffi", "\uFB04", "ffl", "\uFB05", "st", "\uFB06", "st",
		"\uF001", "fi", "\uF002", "fl",
	)
}
