package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
)

// Events configures what takes CloudEvents, and what they set off.
type Events struct {
	Listen  string            `option:"listen" help:"Address to take events at over HTTP, HOST:PORT." example:"127.0.0.1:10005"`
	Users   map[string]string `option:"users" help:"Hash of each sender's password, as gapless hash-password prints it. Without users and tokens everybody is let in, which is refused beyond loopback."`
	Tokens  map[string]string `option:"tokens" help:"Hash of each sender's bearer token, as gapless hash-password prints it, by a name of your own."`
	TLSCert string            `option:"tls_cert" help:"File with the server's certificate, PEM, and those that sign it." example:"./server.crt"`
	TLSKey  string            `option:"tls_key" help:"File with the certificate's key, PEM." example:"./server.key"`
	MaxBody gapless.ByteSize  `option:"max_body" default:"16MiB" help:"Largest request."`
	Workers int               `option:"workers" default:"4" help:"Events handled at once. Those that run the same connector, or download into the same folder, take turns."`
	Keep    time.Duration     `option:"keep" default:"720h" help:"How long an event that was handled is known, should it come again."`
	GiveUp  time.Duration     `option:"give_up" default:"168h" help:"How long an event that fails is tried again."`
	// NATS is where events come from as well; nil if they do not.
	NATS *NATS
	// On lists what events set off; each that wants an event gets it, in order.
	On []Reaction
}

// NATS is a subject that events are taken from.
type NATS struct {
	URL         string `option:"url,required" help:"Address of the server, or several with commas between them." example:"nats://127.0.0.1:4222"`
	Subject     string `option:"subject,required" help:"Subject; * and > stand for parts of it." example:"ingest.>"`
	Stream      string `option:"stream" help:"Stream of JetStream that keeps the messages. Without one, those are lost that are sent while nobody listens."`
	Durable     string `option:"durable" default:"gapless" help:"Name by which the stream remembers what was taken."`
	Credentials string `option:"credentials" help:"File with the user's token and key." example:"./nats.creds"`
}

// Reaction is what some events set off: a run of a connector, or a download.
type Reaction struct {
	Types  []string `option:"types" help:"Types of events that are wanted, exactly as they are sent. Without any, all." example:"[org.pacifica.metadata.ingest]"`
	Source string   `option:"source" help:"Source that events are wanted of. Without one, any."`
	Match  string   `option:"match" help:"JSONPath that has to select something in the event." example:"$.data[?@.destinationTable == 'Files']"`
	Run    string   `option:"run" help:"Connector to run." example:"docs"`
	Keys   string   `option:"keys" help:"JSONPath of the keys that changed: the run reads just those." example:"$.data.id"`
	// Download is nil if a connector is run.
	Download *EventDownload
}

// EventDownload says where the files that an event names come from, and where
// they go.
type EventDownload struct {
	Cart            string         `option:"cart,required" help:"Address of the cart server." example:"http://127.0.0.1:8081"`
	To              string         `option:"to,required" help:"Folder that the files come into." example:"./downloads"`
	Name            string         `option:"name" default:"data" help:"Folder below it. A full stop is the folder itself."`
	User            string         `option:"user" help:"User at the cart server."`
	Password        gapless.Secret `option:"password" help:"The user's password."`
	Token           gapless.Secret `option:"token" help:"Bearer token, in place of user and password."`
	CA              string         `option:"ca" help:"File with authorities to trust, PEM." example:"./ca.crt"`
	ClientCert      string         `option:"client_cert" help:"File with a client certificate, PEM."`
	ClientKey       string         `option:"client_key" help:"File with its key, PEM."`
	AllowUnverified bool           `option:"allow_unverified" default:"false" help:"Take files that no hash is known of."`
}

// Rule returns which events the reaction wants.
func (r Reaction) Rule() event.Rule {
	return event.Rule{Types: r.Types, Source: r.Source, JSONPath: r.Match, Keys: r.Keys}
}

const (
	keyEvents   = "events"
	keyNATS     = "nats"
	keyOn       = "on"
	keyDownload = "download"
)

// events reads the block of events. The connectors are known by then.
func (l *loader) events(parent *node) {
	l.settings(parent, keyEvents, &l.config.Events, keyNATS, keyOn)
	e, found := parent.get(keyEvents)
	if !found || e.value.shape != block {
		return
	}
	if n, found := e.value.get(keyNATS); found && n.value.shape != absent {
		l.config.Events.NATS = &NATS{}
		l.settings(e.value, keyNATS, l.config.Events.NATS)
	}
	on, found := e.value.get(keyOn)
	switch {
	case !found || on.value.shape == absent:
		l.add(e.at, gapless.CodeMissingOption, "events set nothing off", "add on: with a list of what to do")
	case on.value.shape != list:
		l.add(on.at, gapless.CodeConfig, "on is a list", "begin each with a dash")
	default:
		for i, item := range on.value.items {
			l.reaction(i, item)
		}
	}
}

func (l *loader) reaction(i int, n *node) {
	if !l.isBlock(n, n.place, "on["+strconv.Itoa(i)+"]") {
		return
	}
	var r Reaction
	l.fields(n, &r, []string{keyDownload})
	if d, found := n.get(keyDownload); found {
		r.Download = &EventDownload{}
		l.settings(n, keyDownload, r.Download)
		if d.value.shape == absent {
			r.Download = nil
		}
	}
	if (r.Run == "") == (r.Download == nil) {
		l.add(n.place, gapless.CodeMissingOption, "an event sets off either a run or a download", "add run: with a connector, or download: with cart and to")
	}
	if r.Run != "" && !slices.ContainsFunc(l.config.Connectors, func(c Connector) bool { return c.Name == r.Run }) {
		e, _ := n.get("run")
		l.addf(e.at, gapless.CodeUnknownName, gapless.DidYouMean(r.Run, l.config.Names()), "there is no connector named %s", shorten(r.Run))
	}
	if r.Keys != "" && r.Run == "" {
		e, _ := n.get("keys")
		l.add(e.at, gapless.CodeConfig, "keys are for the run of a connector", "remove it")
	}
	if _, err := r.Rule().Compile(); err != nil {
		l.add(n.place, gapless.CodeInvalidOption, err.Error(), "write it as RFC 9535 says, such as $.data.id")
	}
	l.config.Events.On = append(l.config.Events.On, r)
}

// eventsSchema describes the block of events.
func eventsSchema() *jsonschema.Schema {
	s := settingsSchema("What takes CloudEvents, and what they set off.", new(Events))
	s.Properties[keyNATS] = settingsSchema("A subject of NATS that events are taken from.", new(NATS))
	reaction := settingsSchema("What some events set off.", new(Reaction))
	reaction.Properties[keyDownload] = settingsSchema("Where the files that an event names come from, and where they go.", new(EventDownload))
	reaction.PropertyOrder = append(reaction.PropertyOrder, keyDownload)
	s.Properties[keyOn] = &jsonschema.Schema{Types: []string{"array", "null"}, Items: reaction, Description: "What events set off, in order."}
	s.PropertyOrder = append(s.PropertyOrder, keyNATS, keyOn)
	return s
}

// String says what the reaction does, without credentials.
func (r Reaction) String() string {
	what := "run " + r.Run
	if r.Download != nil {
		what = fmt.Sprintf("download from %s to %s", bareAddress(r.Download.Cart), r.Download.To)
	}
	if len(r.Types) == 0 {
		return what + " on any event"
	}
	return what + " on " + strings.Join(r.Types, ", ")
}

// bareAddress returns an address without the credentials that it may hold.
func bareAddress(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "an address that is no URL"
	}
	u.User = nil
	return u.String()
}
