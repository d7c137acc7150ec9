package config

import (
	"fmt"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/gapless-sync/gapless"
)

// Sahana configures the service that installations of Sahana Eden synchronise
// with: their tables land in the hub.
type Sahana struct {
	Listen    string            `option:"listen" help:"Address to serve it at, HOST:PORT. Without one it is not served." example:"127.0.0.1:10004"`
	Base      string            `option:"base" default:"/eden" help:"Path that everything is below."`
	Users     map[string]string `option:"users" help:"Hash of each user's password, as gapless hash-password prints it."`
	Anonymous bool              `option:"anonymous" help:"Lets those without credentials read. Beyond loopback users are needed even so."`
	Domain    string            `option:"domain" help:"Stands before uuids that are no URN when they are sent. Leave it once there are such records; by default it is made of the hub's id."`
	TLSCert   string            `option:"tls_cert" help:"File with the server's certificate, PEM, and those that sign it." example:"./server.crt"`
	TLSKey    string            `option:"tls_key" help:"File with the certificate's key, PEM." example:"./server.key"`
	MaxBody   gapless.ByteSize  `option:"max_body" default:"4GiB" help:"Largest request."`
	// Repositories are peers that need not register, by uuid, with what holds
	// for the records that they push, by table.
	Repositories map[string]map[string]SahanaTask
}

// SahanaTask says what a repository may do to a table, and whose version wins.
type SahanaTask struct {
	Strategy []string `option:"strategy" help:"Methods that may be applied: create, update, delete, merge. All by default."`
	Update   string   `option:"update_policy" default:"NEWER" enum:"THIS,OTHER,NEWER,MASTER" help:"Whose values are kept; this is here."`
	Conflict string   `option:"conflict_policy" default:"NEWER" enum:"THIS,OTHER,NEWER,MASTER" help:"Which records are taken that both sides have changed since they last met."`
	// Fields are update policies by field.
	Fields map[string]string `option:"fields" help:"Update policies of single fields, by name."`
}

const keyRepositories = "repositories"

// sahana reads the block of the service.
func (l *loader) sahana(parent *node) {
	l.settings(parent, "sahana", &l.config.Sahana, keyRepositories)
	e, found := parent.get("sahana")
	if !found {
		return
	}
	if r, found := e.value.get(keyRepositories); found && r.value.shape != absent {
		l.repositories(r)
	}
}

func (l *loader) repositories(e entry) {
	if !l.isBlock(e.value, e.at, keyRepositories) {
		return
	}
	l.config.Sahana.Repositories = map[string]map[string]SahanaTask{}
	for _, repository := range e.value.entries {
		tasks := map[string]SahanaTask{}
		l.config.Sahana.Repositories[repository.key] = tasks
		if repository.value.shape == absent {
			continue
		}
		if !l.isBlock(repository.value, repository.at, "repository "+shorten(repository.key)) {
			continue
		}
		for _, table := range repository.value.entries {
			tasks[table.key] = l.task(repository.value, table)
		}
	}
}

func (l *loader) task(parent *node, table entry) SahanaTask {
	if prefix, name, ok := strings.Cut(table.key, "_"); !ok || prefix == "" || name == "" {
		l.addf(table.at, gapless.CodeInvalidOption, "write prefix_name, such as org_organisation", "%s is no name of a table", shorten(table.key))
	}
	var t SahanaTask
	l.settings(parent, table.key, &t)
	return t
}

// sahanaSchema describes the block of the service.
func sahanaSchema() *jsonschema.Schema {
	s := settingsSchema("A service that installations of Sahana Eden synchronise with; their tables land in the hub.", new(Sahana))
	task := settingsSchema("What the repository may do to the table, and whose version wins.", new(SahanaTask))
	tasks := &jsonschema.Schema{Types: []string{"object", "null"}, AdditionalProperties: task, PropertyNames: &jsonschema.Schema{Pattern: "^[^_]+_."}}
	s.Properties[keyRepositories] = &jsonschema.Schema{
		Types: []string{"object", "null"}, AdditionalProperties: tasks,
		Description: "Peers that need not register, by uuid, with what holds for the records that they push, by table.",
	}
	s.PropertyOrder = append(s.PropertyOrder, keyRepositories)
	return s
}

// String names the policies of a task.
func (t SahanaTask) String() string {
	return fmt.Sprintf("update %s, conflict %s, strategy %s", t.Update, t.Conflict, strings.Join(t.Strategy, ","))
}
