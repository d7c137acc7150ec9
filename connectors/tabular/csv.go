package tabular

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

// CSV declares files of delimited cells, as source and destination.
func CSV() gapless.Connector {
	return gapless.Connector{
		Name:        "csv",
		Summary:     "CSV files, plain or compressed: one record per row",
		Help:        csvHelp,
		Example:     csvExample,
		Source:      gapless.OpenSource(openCSV),
		Destination: gapless.OpenDestination(openCSVStore),
	}
}

// csvOptions of the source.
type csvOptions struct {
	Path        []string         `option:"path,required" help:"File, pattern or list of them; - is standard input. Relative paths are relative to the configuration file." example:"exports/*.csv"`
	Key         string           `option:"key" default:"id" help:"Column that identifies a record." example:"id"`
	Version     string           `option:"version" help:"Column that changes whenever the record does; without it, content is compared." example:"etag"`
	Modified    string           `option:"modified" help:"Column with the time of the last change, as RFC 3339 or Unix seconds." example:"updated_at"`
	Delimiter   string           `option:"delimiter" default:"," help:"Character between cells; tab may be written as a word." example:";"`
	Header      bool             `option:"header" default:"true" help:"Whether the first row of each file names the columns."`
	Columns     []string         `option:"columns" help:"Names of the columns of files without a header." example:"id"`
	Quotes      bool             `option:"quotes" default:"true" help:"Whether cells may be quoted; false takes quotes for ordinary characters."`
	Collection  string           `option:"collection" default:"record" help:"Collection that the records belong to."`
	Compression string           `option:"compression" default:"auto" enum:"auto,none,gzip,zstd" help:"How the files are compressed; auto looks at their first bytes."`
	MaxLine     gapless.ByteSize `option:"max_line" default:"16MiB" help:"Rows longer than this are rejected, at most 64MiB."`
}

const csvExample = `csv:
  path: exports/*.csv
  key: id
  delimiter: ";"
`

const csvHelp = `### Reading

Each row is one record: a JSON object with a string for every column. ` + "`key`" + ` names
the column that identifies it. Quoted cells may hold delimiters, line breaks and
doubled quotes (RFC 4180). Several files are read as one collection, in the order
of their names; each has a header of its own.

A row that is not valid UTF-8, has more or fewer cells than the header, a quote
out of place or no key becomes a dead letter with its file and line; reading goes
on with the next line. While a row is unreadable its record is unknown, so nothing
is deleted. A file whose header lacks the key column fails the run.

A run reads the files only if a name, size or time changed since the last run,
and then passes on what differs. Standard input and pipes are read every time. A
file that changes while it is read fails the run; the next one reads it again.

### Writing

The destination keeps one file with the current records, under a header with the
` + "`columns`" + ` named. Strings are written as they are, null and missing fields as empty
cells, everything else as JSON; fields that are no column are left out. Readers see
either the old file or the new one, never a part. A path that ends in ` + "`.gz` or `.zst`" + `
is compressed.

What has been pushed but not yet merged lies in the folder ` + "`PATH.gapless`" + ` beside
the file. It belongs to the file: move or delete both together. A changed record
moves to the end of the file. Contents of parts are not written.
`

func openCSV(_ context.Context, o csvOptions, env gapless.Env) (gapless.Source, error) {
	s := newSource(o.Path, env)
	s.collection, s.compression = o.Collection, o.Compression
	if err := checkReading(o.Path, o.MaxLine); err != nil {
		return nil, err
	}
	delimiter, err := parseDelimiter(o.Delimiter)
	if err != nil {
		return nil, err
	}
	names := jsonFields{key: o.Key, version: o.Version, modified: o.Modified}
	switch {
	case o.Key == "":
		return nil, invalid("key", "is empty")
	case o.Header && len(o.Columns) > 0:
		return nil, invalid("columns", "is only for files without a header; set header to false")
	case !o.Header:
		if err := (&csvDecoder{names: names}).bind(o.Columns); err != nil {
			return nil, invalid("columns", err.Error())
		}
	}
	s.schema = fingerprint("csv/1", o.Key, o.Version, o.Modified, o.Delimiter,
		fmt.Sprint(o.Header, o.Quotes), strings.Join(o.Columns, "\x00"))
	s.decoder = func() decoder {
		return &csvDecoder{
			syntax: csvSyntax{delimiter: delimiter, quotes: o.Quotes}, header: o.Header,
			columns: slices.Clone(o.Columns), names: names, maxLine: int(o.MaxLine),
		}
	}
	return s, nil
}

func parseDelimiter(text string) (byte, error) {
	if text == "tab" || text == `\t` {
		return '\t', nil
	}
	if len(text) != 1 || strings.ContainsAny(text, "\"\r\n") || text[0] >= 0x80 {
		return 0, invalid("delimiter", fmt.Sprintf("%q is not one ASCII character", text))
	}
	return text[0], nil
}
