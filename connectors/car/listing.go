package car

import (
	"context"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// listing is a session that lists what the service holds, by queries for
// nothing but ids.
type listing struct{ *session }

var _ gapless.Enumerator = listing{}

// Enumerate implements [gapless.Enumerator]; rows have no version.
func (l listing) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	c, err := l.known.of(p.Collection, "")
	if err != nil {
		return gapless.Misconfigured(err)
	}
	d := l.destination
	source := &Source{d.client, SourceOptions{Source: d.opts.Source, PageRows: d.opts.PageRows}, l.known}
	r := &reader{Source: source, c: c}
	r.take = func(row gjson.Result) error {
		key, err := r.key(row)
		if err != nil {
			return gapless.Unrecoverable(err)
		}
		if !strings.HasPrefix(key, p.Prefix) {
			return nil
		}
		return fn([]byte(key), nil)
	}
	if err = r.pages(ctx); r.refused(err) {
		err = r.all(ctx)
	}
	return err
}
