package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
)

// logHandler writes one JSON object per line, with the fields of the original:
// ibm_datetime, level, label and message, then connector, source and version,
// exc_info for an attribute that is an error, then further attributes.
type logHandler struct {
	*logOutput
	fixed  []slog.Attr // connector, source, version
	attrs  []slog.Attr
	prefix string // of groups
}

// logOutput is what the handlers of one run share.
type logOutput struct {
	level slog.Level
	now   func() time.Time
	// secrets replaces what must not be logged, in every form that it may have
	// in a line.
	secrets *strings.Replacer

	mu sync.Mutex // guards the writer
	w  io.Writer
}

func newLog(w io.Writer, s *settings) *slog.Logger {
	h := &logHandler{logOutput: &logOutput{level: slog.LevelInfo, now: time.Now, secrets: hide(s.secrets), w: w}}
	if s.now != nil {
		h.now = s.now
	}
	if s.debug {
		h.level = slog.LevelDebug
	}
	for _, a := range []slog.Attr{slog.String("connector", s.name), slog.String("source", s.source), slog.String("version", s.version)} {
		if a.Value.String() != "" {
			h.fixed = append(h.fixed, a)
		}
	}
	return slog.New(h)
}

// shortSecret is the length below which a secret is no more telling than the
// rest of a line.
const shortSecret = 4

func hide(secrets []string) *strings.Replacer {
	var pairs []string
	for _, s := range secrets {
		if len(s) < shortSecret {
			continue
		}
		quoted := string(appendJSON(nil, s))
		for _, form := range []string{s, quoted[1 : len(quoted)-1], url.QueryEscape(s), url.PathEscape(s)} {
			pairs = append(pairs, form, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

// Enabled implements [slog.Handler].
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle implements [slog.Handler].
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	line := []byte(`{"ibm_datetime":"` + h.now().UTC().Format("2006-01-02T15:04:05.000000Z") + `"`)
	attrs := slices.Concat(h.attrs, h.prefixed(collectAttrs(r)))
	label := "root"
	fields := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		if a.Key == "label" {
			label = a.Value.String()
			continue
		}
		fields = append(fields, a)
	}
	line = appendField(line, "", slog.String("level", levelName(r.Level)))
	line = appendField(line, "", slog.String("label", label))
	line = appendField(line, "", slog.String("message", r.Message))
	for _, a := range h.fixed {
		line = appendField(line, "", a)
	}
	for _, a := range fields {
		line = appendField(line, "", a)
	}
	text := h.secrets.Replace(string(line)) + "}\n"
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, text)
	return err
}

func collectAttrs(r slog.Record) []slog.Attr {
	list := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		list = append(list, a)
		return true
	})
	return list
}

// prefixed returns the attributes with the names of the open groups before
// their own.
func (h *logHandler) prefixed(attrs []slog.Attr) []slog.Attr {
	list := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		list[i] = slog.Attr{Key: h.prefix + a.Key, Value: a.Value}
	}
	return list
}

// appendField appends a field of the line; a group becomes fields of its own.
func appendField(line []byte, prefix string, a slog.Attr) []byte {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		for _, member := range value.Group() {
			line = appendField(line, prefix+a.Key+".", member)
		}
		return line
	}
	if a.Key == "" {
		return line
	}
	key, content := prefix+a.Key, value.Any()
	if err, ok := content.(error); ok {
		key, content = "exc_info", describeError(err)
	}
	line = appendJSON(append(line, ','), key)
	return appendJSON(append(line, ':'), content)
}

// describeError is the text of an error, with the stack of a panic.
func describeError(err error) string {
	text := err.Error()
	if coded, ok := errors.AsType[*gapless.Error](err); ok {
		text = coded.Code.String() + ": " + text
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		text += "\n" + string(p.stack)
	}
	return text
}

func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

func appendJSON(b []byte, value any) []byte {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		out.Reset()
		_ = encoder.Encode(fmt.Sprint(value)) // a string always can be
	}
	return append(b, strings.TrimSuffix(out.String(), "\n")...)
}

// WithAttrs implements [slog.Handler].
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = slices.Concat(h.attrs, h.prefixed(attrs))
	return &c
}

// WithGroup implements [slog.Handler].
func (h *logHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.prefix += name + "."
	return &c
}
