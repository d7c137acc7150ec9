package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
)

// Sample returns a first configuration with comments: one connector from
// folders of files into the hub, or from the first source to the first
// destination that there are, and every setting with its default. It loads as
// it is if the source's required options have examples.
func Sample(connectors []gapless.Connector) string {
	w := &sampleWriter{}
	w.comment("", "Gapless keeps destinations in step with sources. After a change here:")
	w.comment("", "  gapless validate    checks this file")
	w.comment("", "  gapless plan        shows what would be done, and why")
	w.comment("", "  gapless run         does it")
	w.comment("", "gapless connectors lists the kinds there are and their options. ${NAME} stands")
	w.comment("", "for a variable of the environment, ${NAME:-default} for one that may be missing,")
	w.comment("", "file:PATH for a secret in a file. A line that begins with # shows a default.")
	w.line("")
	w.options("", gapless.DescribeOptions(new(general)))
	w.line("# hub:")
	w.options("#   ", gapless.DescribeOptions(new(Hub)))
	w.comment("", "A block pushapi: with listen: serves documents to clients of the Push API, a")
	w.comment("", "block car: with listen: takes the imports of CAR connectors, sahana:")
	w.comment("", "synchronises with installations of Sahana Eden, cart: serves files to clients of")
	w.comment("", "Pacifica, and events: lets CloudEvents set off runs and downloads.")
	w.comment("", "A connector with between: and two kinds in place of from: and to: keeps both")
	w.comment("", "sides equal; resolve: says whose edits win.")
	w.line("")
	w.line("connectors:")
	source, destination := choose(connectors, from, "files"), choose(connectors, to, "hub")
	w.line("  " + connectorName(source) + ":")
	w.endpoint(from, source, connectors)
	w.endpoint(to, destination, connectors)
	w.line("")
	w.mapping("    ")
	w.comment("    ", "A run that would delete more than both of these stops and asks.")
	w.settings("deletes", new(Deletes))
	w.options("    ", gapless.DescribeOptions(new(running)))
	w.comment("    ", "How often what was pushed is made durable; whichever comes first.")
	w.settings("sync", new(Sync))
	w.comment("    ", "What is handed on at once; whichever bound is reached first.")
	w.settings("batch", new(Batch))
	w.comment("    ", "How a failure that can pass is tried again.")
	w.settings("retry", new(Retry))
	return w.String()
}

// choose prefers the kind of a name, then one without required options.
func choose(connectors []gapless.Connector, s end, preferred string) gapless.Connector {
	var best gapless.Connector
	rank := 0
	for _, c := range connectors {
		options, has := s.options(c)
		points := 1
		switch {
		case !has:
			continue
		case c.Name == preferred:
			points = 3
		case !slices.ContainsFunc(options, func(o gapless.Option) bool { return o.Required }):
			points = 2
		}
		if points > rank {
			best, rank = c, points
		}
	}
	return best
}

func connectorName(source gapless.Connector) string {
	if source.Name == "files" || source.Name == "" {
		return "docs"
	}
	return "my-" + source.Name
}

type sampleWriter struct{ strings.Builder }

func (w *sampleWriter) line(text string) { w.WriteString(text + "\n") }

func (w *sampleWriter) comment(indent, text string) { w.line(indent + "# " + text) }

func (w *sampleWriter) endpoint(s end, c gapless.Connector, all []gapless.Connector) {
	l := loader{connectors: all}
	w.comment("    ", fmt.Sprintf("The %s: one of %s.", s.role(), strings.Join(l.kinds(s), ", ")))
	options, _ := s.options(c)
	if !slices.ContainsFunc(options, func(o gapless.Option) bool { return o.Required }) {
		w.line(fmt.Sprintf("    %s: %s", s, c.Name))
		return
	}
	w.line(fmt.Sprintf("    %s:", s))
	w.line("      " + c.Name + ":")
	w.options("        ", options)
}

func (w *sampleWriter) settings(key string, pointer any) {
	w.line("    # " + key + ":")
	w.options("    #   ", gapless.DescribeOptions(pointer))
}

// options writes each option with its help; those that are not required are
// commented out, unless indent comments everything anyway.
func (w *sampleWriter) options(indent string, options []gapless.Option) {
	commented := strings.Contains(indent, "#")
	for _, o := range options {
		value := inlineValue(o)
		switch {
		case commented:
			w.line(fmt.Sprintf("%s%s: %s  # %s", indent, o.Name, value, o.Help))
		case o.Required:
			w.comment(indent, o.Help)
			w.line(indent + o.Name + ": " + value)
		default:
			w.comment(indent, o.Help)
			w.comment(indent, o.Name+": "+value)
		}
	}
}

// inlineValue is a value that an option accepts, on one line of YAML: its
// default, its example, or something of its type.
func inlineValue(o gapless.Option) string {
	text := o.Default
	if text == "" {
		text = o.Example
	}
	switch {
	case o.Type == "list":
		if strings.HasPrefix(text, "[") {
			return text
		}
		items := strings.Split(text, ",")
		for i := range items {
			items[i] = quoted(items[i])
		}
		return "[" + strings.Join(items, ", ") + "]"
	case o.Type == "map":
		if strings.HasPrefix(text, "{") {
			return text
		}
		return "{}"
	case text != "":
		return quoted(text)
	case len(o.Enum) > 0:
		return quoted(o.Enum[0])
	}
	return map[string]string{
		"bool": "false", "integer": "1", "number": "1", "duration": "1m", "size": "1MiB",
		"secret": "${" + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_")) + ":-}",
	}[o.Type]
}

// quoted leaves plain words as they are.
func quoted(text string) string {
	if plainText.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

var plainText = regexp.MustCompile(`^[A-Za-z0-9./_][A-Za-z0-9./_/-]*$`)
