package tabular

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
)

// JSONL declares files of one JSON object per line, as source and destination.
func JSONL() gapless.Connector {
	return gapless.Connector{
		Name:        "jsonl",
		Summary:     "JSON Lines files, plain or compressed: one JSON object per line",
		Help:        jsonlHelp,
		Example:     jsonlExample,
		Source:      gapless.OpenSource(openJSONL),
		Destination: gapless.OpenDestination(openJSONLStore),
	}
}

// jsonlOptions of the source.
type jsonlOptions struct {
	Path        []string         `option:"path,required" help:"File, pattern or list of them; - is standard input. Relative paths are relative to the configuration file." example:"exports/*.jsonl"`
	Key         string           `option:"key" default:"id" help:"Field that identifies a record, such as id or meta.id; a dot within a name is written as \\." example:"id"`
	Version     string           `option:"version" help:"Field that changes whenever the record does; without it, content is compared." example:"etag"`
	Modified    string           `option:"modified" help:"Field with the time of the last change, as RFC 3339 or Unix seconds." example:"updated_at"`
	Collection  string           `option:"collection" default:"record" help:"Collection that the records belong to."`
	Compression string           `option:"compression" default:"auto" enum:"auto,none,gzip,zstd" help:"How the files are compressed; auto looks at their first bytes."`
	MaxLine     gapless.ByteSize `option:"max_line" default:"16MiB" help:"Lines longer than this are rejected, at most 64MiB."`
}

const jsonlExample = `jsonl:
  path: exports/*.jsonl.gz
  key: id
  modified: updated_at
`

const jsonlHelp = `### Reading

Each line is one record: a JSON object, kept byte for byte. ` + "`key`" + ` names the field
that identifies it, a string or a number. Several files are read as one
collection, in the order of their names.

A line that is not valid JSON or UTF-8, is no object, has no key or is longer
than ` + "`max_line`" + ` becomes a dead letter with its file and line; the rest is read.
While a line is unreadable its record is unknown, so nothing is deleted.

A run reads the files only if a name, size or time changed since the last run,
and then passes on what differs. Standard input and pipes are read every time. A
file that changes while it is read fails the run; the next one reads it again.

### Writing

The destination keeps one file with the current records, one per line, byte for
byte as the source gave them (line breaks within a record are dropped). Readers
see either the old file or the new one, never a part. A path that ends in
` + "`.gz` or `.zst`" + ` is compressed.

What has been pushed but not yet merged lies in the folder ` + "`PATH.gapless`" + ` beside
the file. It belongs to the file: move or delete both together. A changed record
moves to the end of the file. Contents of parts are not written.
`

func openJSONL(_ context.Context, o jsonlOptions, env gapless.Env) (gapless.Source, error) {
	s := newSource(o.Path, env)
	s.collection, s.compression = o.Collection, o.Compression
	if err := checkReading(o.Path, o.MaxLine); err != nil {
		return nil, err
	}
	var fields jsonFields
	for _, f := range []struct {
		option, value string
		path          *string
	}{{"key", o.Key, &fields.key}, {"version", o.Version, &fields.version}, {"modified", o.Modified, &fields.modified}} {
		compiled, err := fieldPath(f.value)
		if err != nil || f.option == "key" && compiled == "" {
			return nil, invalid(f.option, fmt.Sprintf("%q is not a field", f.value))
		}
		*f.path = compiled
	}
	if !strings.ContainsAny(o.Key, `.\"`) {
		fields.opening = `{"` + o.Key + `":`
	}
	s.schema = fingerprint("jsonl/1", o.Key, o.Version, o.Modified)
	s.decoder = func() decoder { return &jsonDecoder{fields: fields, maxLine: int(o.MaxLine)} }
	return s, nil
}

// checkReading checks the options that both formats read by.
func checkReading(paths []string, maxLine gapless.ByteSize) error {
	if len(paths) == 0 {
		return invalid("path", "is empty")
	}
	for _, p := range paths {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return invalid("path", fmt.Sprintf("%q is not a path or pattern", p))
		}
	}
	if maxLine < 1 || maxLine > gapless.MaxDataBytes {
		return invalid("max_line", fmt.Sprintf("%s is not between 1 and %s", maxLine, gapless.ByteSize(gapless.MaxDataBytes)))
	}
	return nil
}

func invalid(option, problem string) error {
	return gapless.Misconfigured(gapless.OptionError{Option: option, Problem: problem, Code: gapless.CodeInvalidOption})
}

// fieldPath compiles names joined by dots into a gjson path that means just
// these names: nothing in them is a wildcard, a query or a modifier.
func fieldPath(field string) (string, error) {
	if field == "" {
		return "", nil
	}
	var names []string
	var name strings.Builder
	for i := 0; i < len(field); i++ {
		switch {
		case field[i] == '\\' && i+1 < len(field):
			i++
			name.WriteByte(field[i])
		case field[i] == '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(field[i])
		}
	}
	names = append(names, name.String())
	for i, n := range names {
		if n == "" {
			return "", errors.New("a name is empty")
		}
		names[i] = gjson.Escape(n)
	}
	return strings.Join(names, "."), nil
}

// fingerprint identifies the options that decide what a row becomes.
func fingerprint(parts ...string) string {
	return fmt.Sprintf("%s:%016x", parts[0], xxh3.HashString(strings.Join(parts, "\x00")))
}
