package pushapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// AppendStanding appends how far a document has come: a line with the stage,
// and, if something is in its way, a space and the escaped reason; then a line
// for each part that queries do not find anything of: its name as in a query,
// a space and the escaped reason.
func AppendStanding(dst []byte, s Standing) []byte {
	dst = append(dst, s.Stage.String()...)
	if s.Reason != "" {
		dst = EscapeFull.appendEscaped(append(dst, ' '), s.Reason)
	}
	dst = append(dst, '\n')
	for _, p := range s.Parts {
		dst = append(EscapeFull.appendEscaped(append(appendQuery(dst, p.Name), ' '), p.Reason), '\n')
	}
	return dst
}

// ReadStanding reads the body that AppendStanding writes.
func ReadStanding(r io.Reader) (Standing, error) {
	body := bufio.NewReader(io.LimitReader(r, maxLineBytes))
	first, err := body.ReadString('\n')
	if err != nil {
		return Standing{}, errors.Join(err, io.ErrUnexpectedEOF)
	}
	stage, reason, _ := strings.Cut(strings.TrimSuffix(first, "\n"), " ")
	stages := []Stage{StageAbsent, StagePushed, StageSynced, StageSearchable}
	at := slices.IndexFunc(stages, func(s Stage) bool { return s.String() == stage })
	if at < 0 {
		return Standing{}, fmt.Errorf("%q is no stage of a document", clip(stage))
	}
	s := Standing{Stage: stages[at], Reason: EscapeFull.unescape([]byte(reason))}
	for c, err := range ReadCheckpoints(body, EscapeFull) {
		if err != nil {
			return Standing{}, err
		}
		s.Parts = append(s.Parts, UnreadPart{Name: c.Name, Reason: c.Value})
	}
	return s, nil
}
