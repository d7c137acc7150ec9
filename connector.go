package gapless

import (
	"context"
	"fmt"
)

// Connector declares one outside system to the catalogue: a name, its help,
// and how to open it as a source, as a destination, or as both. It is a plain
// value.
type Connector struct {
	// Name as written in a configuration: lower case, letters and dashes.
	Name string
	// Summary is one line without a full stop.
	Summary string
	// Help is a few paragraphs of Markdown for the connector's page.
	Help string
	// Example is the YAML of a from: or to: block.
	Example     string
	Source      *Opener[Source]
	Destination *Opener[Destination]
}

// Opener opens a source or a destination from declared options.
type Opener[T any] struct {
	// Options describes the options in the order of their declaration.
	Options []Option
	decode  func(values map[string]any, env Env) (any, []OptionError)
	open    func(ctx context.Context, options any, env Env) (T, error)
}

// Env is what a connector may know about where it is opened.
type Env struct {
	// Connector is the name of the configured connector being opened.
	Connector string
	// Dir is the folder that relative paths are relative to.
	Dir string
	// State is the folder in which the project keeps what survives runs. It
	// may not exist yet.
	State string
}

// Open checks values against the declared options and opens T. The errors
// name every mistake at once.
func (o *Opener[T]) Open(ctx context.Context, values map[string]any, env Env) (T, error) {
	var none T
	options, mistakes := o.decode(values, env)
	if len(mistakes) > 0 {
		return none, Misconfigured(mistakes[0])
	}
	return o.open(ctx, options, env)
}

// Check returns every mistake in values without opening anything.
func (o *Opener[T]) Check(values map[string]any, env Env) []OptionError {
	_, mistakes := o.decode(values, env)
	return mistakes
}

// OpenSource declares how a source is opened. O is a struct whose exported
// fields declare the options; see [Option].
func OpenSource[O any](open func(ctx context.Context, options O, env Env) (Source, error)) *Opener[Source] {
	return newOpener(open)
}

// OpenDestination declares how a destination is opened, as [OpenSource] does.
func OpenDestination[O any](open func(ctx context.Context, options O, env Env) (Destination, error)) *Opener[Destination] {
	return newOpener(open)
}

func newOpener[O, T any](open func(context.Context, O, Env) (T, error)) *Opener[T] {
	return &Opener[T]{
		Options: DescribeOptions(new(O)),
		decode: func(values map[string]any, _ Env) (any, []OptionError) {
			options := new(O)
			mistakes := DecodeOptions(options, values)
			return *options, mistakes
		},
		open: func(ctx context.Context, options any, env Env) (T, error) {
			typed, ok := options.(O)
			if !ok {
				var none T
				return none, fmt.Errorf("options are %T", options)
			}
			return open(ctx, typed, env)
		},
	}
}
