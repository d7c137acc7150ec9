package pushapi

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

// maxStampBytes bounds a stamp: it has to fit on a line.
const maxStampBytes = 64 << 10

func (s *Server) addDocuments(c *exchange) error { return c.putDocuments(gapless.OpUpsert) }

func (s *Server) updateDocuments(c *exchange) error { return c.putDocuments(gapless.OpPatch) }

// putDocuments adds or updates the documents of the body, all or none.
// Contents of parts go to the store as they arrive.
func (c *exchange) putDocuments(op gapless.Op) (err error) {
	ctx := c.r.Context()
	write, err := c.corpus.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, write.Discard()) }()
	form, err := c.readForm(func(content io.Reader) (Part, error) {
		p, err := write.Part(ctx, content)
		return Part{Size: p.Size, Open: p.Open}, err
	})
	if err != nil {
		return err
	}
	if len(form.Documents) == 0 {
		return Errorf(TypeInvalidParameter, "no documents", "the request holds no document: its body is empty, or its fields are not of the form PAPI_ID:KIND")
	}
	in, err := c.documentIntent()
	if err != nil {
		return err
	}
	in.Batch = &gapless.Batch{Origin: "push api", Buf: make([]byte, 0, textSize(form.Documents))}
	for i := range form.Documents {
		d := &form.Documents[i]
		if op == gapless.OpPatch { // index fields to refresh: this server refreshes all
			d.Directives = slices.DeleteFunc(d.Directives, func(v Directive) bool { return v.Name == DirectiveField })
		}
		if err := appendDocument(in.Batch, op, d); err != nil {
			return err
		}
	}
	receipt, err := c.commit(write, in)
	return c.answerDocuments(in, receipt, err)
}

// textSize returns about how many bytes the records of documents take.
func textSize(docs []Document) (size int) {
	for i := range docs {
		size += len(docs[i].URI) + len(docs[i].Stamp) + 2
		for _, m := range docs[i].Metas {
			size += len(m.Name) + len(m.Value) + 6
		}
	}
	return size + size/16
}

// answerDocuments says what became of a batch.
func (c *exchange) answerDocuments(in intent, receipt gapless.Receipt, err error) error {
	switch {
	case errors.Is(err, ErrRowRefused) && len(receipt.Rejected) > 0:
		return refusal(receipt.Rejected[0])
	case err != nil:
		return err
	case in.Checkpoint != nil:
		return c.text(http.StatusOK, FormatSerial(receipt.Serial))
	case !in.Each:
		return c.text(http.StatusOK, "")
	}
	c.w.Header().Set(HeaderItems, ItemsEach)
	var lines []byte
	for _, r := range receipt.Rejected {
		e := refusal(r)
		lines = AppendItem(lines, Item{URI: r.Key, Type: e.Type, Message: e.Message})
	}
	return c.text(http.StatusOK, string(lines))
}

// refusal says why the store refused a document.
func refusal(r gapless.Rejection) *Error {
	e := Errorf(TypeInvalidParameter, "document refused", "%w", r.Err)
	if errors.Is(r.Err, gapless.ErrNotFound) {
		e = Errorf(TypeUnknownDocument, "unknown document", "%w", gapless.ErrNotFound)
	}
	e.URI = r.Key
	return e
}

// appendDocument appends the record of a document to a batch.
func appendDocument(b *gapless.Batch, op gapless.Op, d *Document) error {
	if len(d.Stamp) > maxStampBytes {
		return invalid(d.URI, "the stamp has %d bytes, more than %d", len(d.Stamp), maxStampBytes)
	}
	row := gapless.Row{Op: op, Line: uint64(b.Len() + 1)}
	row.Key = b.AppendBytes([]byte(d.URI))
	row.Version = b.AppendBytes([]byte(d.Stamp))
	at := len(b.Buf)
	b.Buf = RecordData(b.Buf, d)
	if len(b.Buf)-at > gapless.MaxDataBytes {
		return tooLarge("the metas of document %q take more than %d bytes", clip(d.URI), gapless.MaxDataBytes)
	}
	row.Data = gapless.Span{Off: uint32(at), Len: uint32(len(b.Buf) - at)}
	var parts []gapless.Part
	for i := range d.Parts {
		p := &d.Parts[i]
		parts = append(parts, gapless.Part{Name: p.name(), Type: mediaType(p), Size: p.Size, Open: p.Open})
	}
	b.AppendRow(row, parts...)
	return nil
}

// Fields of a record that are no metas. A meta whose name begins with a dollar
// sign gets another one before it.
const (
	directiveField = "$directive:"
	partField      = "$part:"
)

// RecordData appends the JSON object of the record that a [Server] makes of a
// document: one field per meta, a string or, for several values, an array of
// strings in their order; one field "$directive:NAME" likewise per directive;
// and one field "$part:NAME" per part with its directives as an object. It is
// also the patch of an update: what a document names is replaced.
func RecordData(dst []byte, d *Document) []byte {
	metas := valueList{list: make([]namedValues, 0, len(d.Metas))}
	for _, m := range d.Metas {
		name := m.Name
		if strings.HasPrefix(name, "$") {
			name = "$" + name
		}
		metas.add(name, m.Value)
	}
	for _, v := range d.Directives {
		metas.add(directiveField+v.Name, v.Value)
	}
	dst = metas.appendMembers(append(dst, '{'))
	for i := range d.Parts {
		p := &d.Parts[i]
		var directives valueList
		for _, v := range p.Directives {
			directives.add(v.Name, v.Value)
		}
		dst = appendMemberName(dst, partField+p.name())
		dst = append(directives.appendMembers(append(dst, '{')), '}')
	}
	return append(dst, '}')
}

// namedValues are the values of one name.
type namedValues struct {
	name   string
	values []string
}

// valueList groups values by name, both in the order of their appearance.
type valueList struct {
	list  []namedValues
	index map[string]int // once the list is long
}

// fewNames is up to where a list is searched from end to end.
const fewNames = 16

func (l *valueList) add(name, value string) {
	if i, ok := l.find(name); ok {
		l.list[i].values = append(l.list[i].values, value)
		return
	}
	if l.index != nil {
		l.index[name] = len(l.list)
	}
	l.list = append(l.list, namedValues{name, []string{value}})
}

func (l *valueList) find(name string) (int, bool) {
	if l.index == nil && len(l.list) > fewNames {
		l.index = make(map[string]int, cap(l.list))
		for i := range l.list {
			l.index[l.list[i].name] = i
		}
	}
	if l.index != nil {
		i, ok := l.index[name]
		return i, ok
	}
	for i := range l.list {
		if l.list[i].name == name {
			return i, true
		}
	}
	return 0, false
}

// appendMembers appends the members of an object that has just been opened.
func (l *valueList) appendMembers(dst []byte) []byte {
	for _, n := range l.list {
		dst = appendMemberName(dst, n.name)
		if len(n.values) == 1 {
			dst = appendJSON(dst, n.values[0])
			continue
		}
		for i, value := range n.values {
			dst = appendJSON(append(dst, "[,"[min(i, 1)]), value)
		}
		dst = append(dst, ']')
	}
	return dst
}

func appendMemberName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(appendJSON(dst, name), ':')
}

// appendJSON appends valid UTF-8 as a JSON string.
func appendJSON(dst []byte, text string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		if from = i + 1; c < ' ' {
			dst = fmt.Appendf(dst, `\u%04x`, c)
		} else {
			dst = append(dst, '\\', c)
		}
	}
	return append(append(dst, text[from:]...), '"')
}

// mediaType returns the media type that the directives of a part give it, with
// the name of its file as a parameter, or "". What the client insists on counts
// more than a hint.
func mediaType(p *Part) string {
	kind, args := statedType(p)
	if file := DirectiveValue(p.Directives, DirectiveFilename); file != "" && len(file) <= maxFilename {
		if kind == "" {
			kind = unknownType
		}
		if args = maps.Clone(args); args == nil {
			args = map[string]string{}
		}
		args[nameParameter] = file
	}
	return mime.FormatMediaType(kind, args)
}

const (
	// unknownType is the media type of anything.
	unknownType = "application/octet-stream"
	// nameParameter is the parameter of a media type that names a file.
	nameParameter = "name"
	maxFilename   = 1024
)

// statedType returns the media type and its parameters; "" if there is none.
func statedType(p *Part) (string, map[string]string) {
	for _, name := range []string{DirectiveMime, directiveCertifiedMime, DirectiveMimeHint} {
		kind, args, err := mime.ParseMediaType(DirectiveValue(p.Directives, name))
		if err != nil || len(kind) > 255 {
			continue
		}
		encoding := DirectiveValue(p.Directives, DirectiveEncoding)
		if args["charset"] == "" && encoding != "" && len(encoding) < 64 && strings.HasPrefix(kind, "text/") {
			args = map[string]string{"charset": encoding}
		}
		return kind, args
	}
	return "", nil
}

// directiveCertifiedMime is what later documentation calls [DirectiveMime].
const directiveCertifiedMime = "certifiedMime"
