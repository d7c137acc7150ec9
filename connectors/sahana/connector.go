package sahana

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// Connector declares installations of Sahana Eden as a source and as a
// destination.
func Connector() gapless.Connector {
	return gapless.Connector{
		Name:        "sahana",
		Summary:     "Sahana Eden: read its tables, or write records into them, by REST or as a peer",
		Help:        help,
		Example:     example,
		Source:      gapless.OpenSource(openSource),
		Destination: gapless.OpenDestination(openDestination),
	}
}

// sourceOptions of the source.
type sourceOptions struct {
	URL        string            `option:"url,required" help:"Address of the Eden, up to the application." example:"https://eden.example.org/eden"`
	Login      string            `option:"login" help:"E-mail address of the user to read as, together with a password; nobody without it." example:"gapless@example.org"`
	Password   gapless.Secret    `option:"password" help:"Password of the login." example:"${EDEN_PASSWORD}"`
	Tables     []string          `option:"tables,required" help:"Tables to read, those that others refer to first. Components are tables of their own." example:"[org_organisation, org_office, pr_contact]"`
	Filters    map[string]string `option:"filters" help:"Which records of a table to read, as a query of the Eden." example:"{org_organisation: \"~.acronym__like=A*\"}"`
	Via        string            `option:"via" default:"rest" enum:"rest,sync,sync-2010" help:"How to read: by pages, or as a peer does, now or in 2010, a whole table in one answer."`
	Repository string            `option:"repository" help:"Uuid by which the Eden knows us as a peer; needed for via: sync." example:"urn:uuid:0f3c1f0e-6b7e-4a52-9f59-0d7cf2f7b0aa"`
	Overlap    time.Duration     `option:"overlap" default:"5m" help:"How far a run reads back behind the last one, for what an Eden dates earlier than it shows."`
	PageRows   int               `option:"page_rows" default:"500" help:"How many records a page has."`
	Files      bool              `option:"files" default:"false" help:"Read uploaded files, as parts of their records."`
	CA         string            `option:"ca" help:"PEM file of the authorities that are trusted instead of the system's." example:"./ca.pem"`
	Timeout    time.Duration     `option:"timeout" default:"5m" help:"How long the Eden may be silent."`
}

// destinationOptions of the destination.
type destinationOptions struct {
	URL        string         `option:"url,required" help:"Address of the Eden, up to the application." example:"https://eden.example.org/eden"`
	Login      string         `option:"login,required" help:"E-mail address of the user to write as. Give Gapless one of its own: its records are told by it." example:"gapless@example.org"`
	Password   gapless.Secret `option:"password,required" help:"Password of the login." example:"${EDEN_PASSWORD}"`
	Repository string         `option:"repository" help:"Uuid by which we register as a peer and write as one; by REST without it." example:"urn:uuid:0f3c1f0e-6b7e-4a52-9f59-0d7cf2f7b0aa"`
	ImportRows int            `option:"import_rows" default:"500" help:"How many records one import has at most; up to 1,000."`
	Verify     string         `option:"verify" default:"all" enum:"all,sample,none" help:"Which records to read again after an import, to see whether the Eden has really taken them: all, one in sixteen, or none."`
	CA         string         `option:"ca" help:"PEM file of the authorities that are trusted instead of the system's." example:"./ca.pem"`
	Timeout    time.Duration  `option:"timeout" default:"5m" help:"How long the Eden may be silent; it answers an import when all is done."`
}

const example = `sahana:
  url: https://eden.example.org/eden
  login: gapless@example.org
  password: ${EDEN_PASSWORD}
`

const help = `Reads and writes the tables of a Sahana Eden, the classic one and its successor
(eden-asp), by the interfaces that they have: nothing is installed there.

A collection is a table, such as ` + "`org_organisation`" + `; the key of a record is its
uuid, with the name of the Eden's domain before it where an Eden puts it there.

### As a source

A component is read as a table of its own: an Eden does not tell of an
organisation whose office alone has changed. List its table too, behind that of
its master. The Sahana service of another Gapless does tell, and keeps components
with their master: from there they come as ` + "`_components`" + ` of its data, and values
that were removed come as ` + "`null`" + `.

The data of a record has a member for each field and each reference, and the
sections ` + "`_references`, `_fields` and `_meta`" + ` for how they travel.

* **Changes** are the records dated at or after the time of the Eden's own clock
  when the last run began, less ` + "`overlap`" + `. No record moves that time, so one
  dated in the future hides nothing; it is read with every run until its time
  has come. What is read twice and has not changed is handed on once; a file of
  the project remembers it. A record that was deleted or merged into another is a
  delete. The service of another Gapless is asked for what has arrived there
  since, whatever its date.
* **What changes do not show** is found when the engine lists all keys, daily by
  default: records with an older date than they should have, values that were
  removed, edits without a date, records that a filter lets through no longer.
  That listing reads all records, though it passes on nothing but what differs,
  because only their content tells.
* **Pages** are ordered by the Eden's numbers of its records. A page that breaks
  off counts for nothing, and nothing is deleted by it. An empty one is the end
  only if it is empty again when it is asked for once more, and an answer to a
  peer without records is asked for twice, too. A full run goes on behind its last
  page.
* ` + "`via: sync`" + ` asks as a peer does. The whole table comes in one answer, with which
  a broken run begins anew. ` + "`sync-2010`" + ` speaks to an Eden of that time, which
  knows no filters. Single records are read by REST all the same.
* With ` + "`files: true`" + ` an uploaded file is a part of its record, named after the
  field. It is fetched from this Eden, whatever address the record gives, up to
  4 GiB of it. One that ends before the length that was announced, or that turns
  out to be a page, is not taken for the file.

### As a destination

Records are imported in documents of at most ` + "`import_rows`" + `, those that others of
the same table refer to first. An Eden drops a reference to a record that it does
not have. So it is asked first, and records that refer to what is not there wait
until that has come: from another table of the same run, from a later run, or
from somebody else; those that refer to each other in a circle are written twice.
Up to 10,000 records, or 64 MiB, wait in a file of the project. A run that leaves
some there fails with GAP-5001, and names one. They become dead letters when what
they refer to can no longer come: its table was read to its end before theirs, or
two more runs have passed. Of tables that cannot be read at the Eden, references
are taken to lead somewhere.

| what is sent | what the Eden makes of it |
|---|---|
| a field | its value; a field that the record does not name stays as it is |
| ` + "`null`" + ` | a text is cleared; a number, a choice or a reference is, too, by a second import, if the Eden lets it have no value; a date keeps its value, and the record is rejected |
| a reference, which has an entry in ` + "`_references`" + ` | a link to the record of that uuid |
| ` + "`_components`" + ` | records of the components' tables, also where the Eden has the rest in a newer version that says the same; they are not read again |
| a delete | the record is marked deleted, by its uuid; never a whole table |
| a patch | as an upsert of the fields that it names |
| the address of a file in ` + "`_fields`" + ` | fetched by the Eden itself; parts of records are not sent |

An Eden answers that it has updated what it has not: where its own version is
newer, where a field is unknown, where a reference leads nowhere. So every record
is read again after an import and compared with what was sent; what differs
becomes a dead letter that says how. ` + "`verify`" + ` makes that a sample, or leaves it
out. What an Eden refuses becomes a dead letter with its own words.

Without ` + "`repository`" + ` records are written by REST, which always overwrites. With it,
Gapless registers as a peer of that uuid and writes as one. What the Eden has in
a newer version is then not sent but becomes a dead letter. Where the Eden does
not let us, or fails, as the successor does with every push, records are written
by REST, under the same rule.

An import is durable when it is answered. The checkpoints are kept in a file of
the project, because an Eden has no place for them. So an older runner is fenced
off on this machine alone, and an Eden that was restored from a backup has to be
brought up to date by a run with ` + "`--full`" + `.

An Eden keeps no versions of ours. So where the engine compares all keys, daily by
default and only for sources that cannot tell deletes, every record is written
again.

Records that are to be deleted because the source no longer has them are looked
for among those that this login has created by imports. What people have entered,
or other systems have brought, is never deleted by absence.

### What answers mean

| answer | what follows |
|---|---|
| no connection, silence, a broken answer, 408, 429, 500, 502, 503, 504 | tried again with growing waits, or after ` + "`Retry-After`" + `; then the run fails recoverably (exit 51 or 10) |
| 401, or a redirect to a login | the run stops at once (exit 52) |
| 403 | the run stops at once (exit 53); for a push as a peer, REST |
| 500 for a push as a peer | REST |
| 400, 404, or an import that failed as a whole, whatever its status | the run stops (exit 54) and may be repeated |
| a page of HTML, or anything else that is no document | the run stops (exit 55) and may be repeated |
| ` + "`success=\"false\" results=\"0\"`" + ` | there are no records |
| an import with refused records | these become dead letters, the others are taken |

### Both ways

    between:
      - hub: {connector: relief}
      - sahana: {url: "https://eden.example.org/eden", tables: [org_organisation]}
    resolve: {resolution: newer}

keeps the Eden's tables and records of the hub equal, both of which are edited;
two Edens as well. Edits of one field meet by ` + "`resolve`" + `, and what loses is in the
inbox (` + "`gapless conflicts`" + `). What is of each copy is neither compared nor handed on:
when and by whom it was written, how often it was passed on, and how values and
references are shown. A component that stands within its master,
in ` + "`_components`" + `, is one field with its siblings.
`

func openSource(_ context.Context, o sourceOptions, env gapless.Env) (gapless.Source, error) {
	s := &source{
		tables: o.Tables, via: o.Via, repository: o.Repository, pageRows: o.PageRows, overlap: o.Overlap, files: o.Files,
		recent: recent{folder: env.State, connector: env.Connector},
	}
	for _, table := range o.Tables {
		if _, err := tablePath(table); err != nil {
			return nil, invalidOption("tables", err)
		}
	}
	var err error
	if s.filters, err = parseFilters(o.Filters, o.Tables); err != nil {
		return nil, invalidOption("filters", err)
	}
	switch {
	case len(o.Tables) == 0:
		return nil, invalidOption("tables", errors.New("names none"))
	case o.Via != viaREST && o.Repository == "":
		return nil, invalidOption("repository", errors.New("is needed to read as a peer"))
	case o.Via == viaSync2010 && len(o.Filters) > 0:
		return nil, invalidOption("filters", errors.New("are unknown to an Eden of 2010"))
	case o.Overlap < time.Second:
		return nil, invalidOption("overlap", errors.New("is less than 1s, which is how closely an Eden dates"))
	case o.PageRows < 1:
		return nil, invalidOption("page_rows", errors.New("is less than 1"))
	}
	s.client, err = connect(clientOptions{URL: o.URL, Login: o.Login, Password: o.Password, Timeout: o.Timeout}, o.CA, env)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func openDestination(_ context.Context, o destinationOptions, env gapless.Env) (gapless.Destination, error) {
	switch {
	case o.ImportRows < 1 || o.ImportRows > maxImport:
		return nil, invalidOption("import_rows", fmt.Errorf("is not between 1 and %d", maxImport))
	case strings.TrimSpace(o.Repository) != o.Repository || len(o.Repository) > 128:
		return nil, invalidOption("repository", errors.New("is no uuid of at most 128 characters"))
	}
	c, err := connect(clientOptions{URL: o.URL, Login: o.Login, Password: o.Password, Timeout: o.Timeout}, o.CA, env)
	if err != nil {
		return nil, err
	}
	return &destination{client: c, state: env.State, repository: o.Repository, rows: o.ImportRows, verify: o.Verify}, nil
}

func connect(o clientOptions, ca string, env gapless.Env) (*client, error) {
	if ca != "" {
		if !filepath.IsAbs(ca) {
			ca = filepath.Join(env.Dir, ca)
		}
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, invalidOption("ca", fmt.Errorf("cannot be read: %w", err))
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, invalidOption("ca", fmt.Errorf("%s holds no certificate", ca))
		}
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return newClient(o)
}
