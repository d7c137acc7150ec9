package config

import (
	"context"
	"time"

	"github.com/gapless-sync/gapless"
)

// The connectors that tests configure: one of every option type, and kinds
// with one side only.

type filesOptions struct {
	Path     string   `option:"path,required" help:"Folder to read." example:"./docs"`
	Include  []string `option:"include" default:"**" help:"Globs of files to read."`
	Symlinks string   `option:"symlinks" default:"skip" enum:"skip,follow" help:"What to do with symbolic links."`
	Depth    int      `option:"depth" default:"64" help:"Deepest folder."`
}

type apiOptions struct {
	URL     string            `option:"url,required" help:"Where it is." example:"https://example.org"`
	Token   gapless.Secret    `option:"token" help:"Credential."`
	Timeout time.Duration     `option:"timeout" default:"30s" help:"Longest wait."`
	Cache   gapless.ByteSize  `option:"cache" default:"8MiB" help:"Memory for answers."`
	Rate    float64           `option:"rate" default:"2.5" help:"Requests in a second."`
	Strict  bool              `option:"strict" default:"true" help:"Refuse what is unknown."`
	Headers map[string]string `option:"headers" help:"Sent with every request."`
}

type shelfSource struct {
	Connector string         `option:"connector,required" help:"Whose records are read."`
	Path      string         `option:"path" help:"Folder."`
	ReadKey   gapless.Secret `option:"read_key" help:"Credential for reading."`
}

type shelfDestination struct {
	Connector string         `option:"connector" help:"Whose records are written."`
	Path      string         `option:"path" help:"Folder."`
	WriteKey  gapless.Secret `option:"write_key" help:"Credential for writing."`
	Copies    int            `option:"copies" default:"1" help:"How many to keep."`
}

func openSource[O any]() *gapless.Opener[gapless.Source] {
	return gapless.OpenSource(func(context.Context, O, gapless.Env) (gapless.Source, error) { return nil, gapless.ErrNotFound })
}

func openDestination[O any]() *gapless.Opener[gapless.Destination] {
	return gapless.OpenDestination(func(context.Context, O, gapless.Env) (gapless.Destination, error) { return nil, gapless.ErrNotFound })
}

func testConnectors() []gapless.Connector {
	return []gapless.Connector{
		{Name: "files", Summary: "Folders of files", Source: openSource[filesOptions]()},
		{Name: "api", Summary: "An HTTP service", Source: openSource[apiOptions](), Destination: openDestination[apiOptions]()},
		{Name: "hub", Summary: "The embedded store", Source: openSource[struct{}](), Destination: openDestination[struct{}]()},
		{Name: "shelf", Summary: "A store whose ends differ", Source: openSource[shelfSource](), Destination: openDestination[shelfDestination]()},
		{Name: "printer", Summary: "Paper", Destination: openDestination[struct{}]()},
	}
}

// canary is a secret that no output may show.
const canary = "hunter2-canary"

func testLookup(name string) (string, bool) {
	value, ok := map[string]string{"HOME": "/home/ann", "TOKEN": canary, "EMPTY": "", "MANY": "a-" + canary}[name]
	return value, ok
}
