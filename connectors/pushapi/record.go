package pushapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// folderOf returns what the URIs of a collection's records begin with: its
// name, escaped so that it has no slash of its own, and a slash.
func folderOf(collection string) string { return url.PathEscape(collection) + "/" }

// documentOf returns the document of a row, whose data becomes metas: it is the
// reverse of [RecordData], and takes any other object as well. Numbers and
// booleans become their text, arrays one value per element, and whatever is
// nested its JSON. A field that is null, or an array without elements, makes no
// meta; in a patch it cannot be expressed and is an error.
func documentOf(b *gapless.Batch, i int) (Document, error) {
	patch := b.Rows[i].Op == gapless.OpPatch
	d := Document{URI: uriOf(b, i), Stamp: string(b.Version(i))}
	partDirectives := map[string][]Directive{}
	var problem error
	gjson.ParseBytes(b.Data(i)).ForEach(func(name, value gjson.Result) bool {
		field := name.String()
		if part, ok := strings.CutPrefix(field, partField); ok && value.IsObject() {
			value.ForEach(func(name, value gjson.Result) bool {
				for _, text := range texts(value) {
					partDirectives[part] = append(partDirectives[part], Directive{name.String(), text})
				}
				return true
			})
			return true
		}
		values := texts(value)
		if patch && len(values) == 0 {
			problem = fmt.Errorf("field %q: the Push API cannot remove a meta", clip(field))
			return false
		}
		d.addField(field, values)
		return true
	})
	if problem != nil {
		return d, problem
	}
	for _, p := range b.Parts(i) {
		d.Parts = append(d.Parts, partOf(p, partDirectives[p.Name]))
	}
	return d, d.Validate()
}

// uriOf returns the URI of a row's document.
func uriOf(b *gapless.Batch, i int) string {
	return folderOf(b.Partition.Collection) + string(b.Key(i))
}

func (d *Document) addField(field string, values []string) {
	if directive, ok := strings.CutPrefix(field, directiveField); ok {
		for _, text := range values {
			d.Directives = append(d.Directives, Directive{directive, text})
		}
		return
	}
	if strings.HasPrefix(field, "$$") {
		field = field[1:]
	}
	d.AddMeta(field, values...)
}

// texts returns a value as metas have it.
func texts(value gjson.Result) []string {
	var list []string
	switch {
	case value.Type == gjson.Null:
	case value.Type == gjson.String:
		list = append(list, value.String())
	case value.IsArray():
		value.ForEach(func(_, element gjson.Result) bool {
			if element.Type == gjson.String {
				list = append(list, element.String())
			} else if element.Type != gjson.Null {
				list = append(list, element.Raw)
			}
			return true
		})
	default:
		list = append(list, value.Raw)
	}
	return list
}

// partOf returns a record's part as a document has it. What the record says of
// it comes before its media type.
func partOf(p gapless.Part, directives []Directive) Part {
	media, file := splitType(p.Type)
	if media != "" && DirectiveValue(directives, DirectiveMimeHint) == "" && DirectiveValue(directives, DirectiveMime) == "" {
		directives = append(directives, Directive{DirectiveMimeHint, media})
	}
	if file != "" && DirectiveValue(directives, DirectiveFilename) == "" {
		directives = append(directives, Directive{DirectiveFilename, file})
	}
	part := Part{Name: p.Name, Directives: directives, Size: p.Size}
	if p.Open != nil {
		part.Open = func(ctx context.Context) (io.ReadCloser, error) { return p.Open(ctx) }
	}
	return part
}

// splitType takes a media type apart from the name of a file in it; the media
// type of anything is none. It undoes mediaType.
func splitType(media string) (rest, file string) {
	kind, args, err := mime.ParseMediaType(media)
	if err != nil || args[nameParameter] == "" {
		return media, ""
	}
	file = args[nameParameter]
	if delete(args, nameParameter); kind == unknownType && len(args) == 0 {
		return "", file
	}
	return mime.FormatMediaType(kind, args), file
}

// classify says what an error of a client means for the run.
func classify(err error) error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case err == nil || !ok || isFailure(err):
		return err
	case errors.Is(err, ErrSessionMismatch), errors.Is(err, ErrUnknownSerial):
		return fmt.Errorf("%w: %w", gapless.ErrIncarnation, err)
	case errors.Is(err, ErrCheckpointMismatch):
		return fmt.Errorf("%w: %w", gapless.ErrFenced, err)
	case errors.Is(err, ErrUnauthorized) && e.Status == 403:
		return gapless.Because(gapless.CauseForbidden, err)
	case errors.Is(err, ErrUnauthorized):
		return gapless.Because(gapless.CauseAuthentication, err)
	case errors.Is(err, ErrServerUnavailable):
		return gapless.Because(gapless.CauseUnreachable, err)
	case errors.Is(err, ErrInvalidConnector):
		return gapless.Misconfigured(err)
	case e.Status >= 500:
		return gapless.Recoverable(err)
	case e.Status >= 400:
		return gapless.Because(gapless.CauseInvalidParameter, err)
	}
	return gapless.Because(gapless.CauseUnreadable, err)
}

// isFailure reports whether an error says itself what it means, such as that of
// a part's content.
func isFailure(err error) bool {
	_, ok := errors.AsType[*gapless.Failure](err)
	return ok
}

// checkKey says why the URI of an entry cannot be a record's key.
func checkKey(key string) error {
	switch {
	case key == "" || len(key) > gapless.MaxKeyBytes:
		return fmt.Errorf("the URI has %d bytes, not 1 to %d", len(key), gapless.MaxKeyBytes)
	case !utf8.ValidString(key):
		return errors.New("the URI is not valid UTF-8")
	}
	return nil
}
