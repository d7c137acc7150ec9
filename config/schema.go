package config

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/gapless-sync/gapless"
)

// Patterns of values that are resolved when the configuration is loaded.
const (
	referencePattern = `\$\{`
	secretPattern    = `^file:|\$\{`
)

// Schema returns the JSON Schema (draft 2020-12) of the configuration for
// editors, with every option of the connectors. Whatever it refuses, [Load]
// refuses too; Load sees more.
func Schema(connectors []gapless.Connector) ([]byte, error) {
	top := object("A configuration of Gapless.", topKeys, map[string]*jsonschema.Schema{
		"state":      optionSchema(gapless.DescribeOptions(new(general))[0]),
		"hub":        settingsSchema("The embedded destination.", new(Hub)),
		"pushapi":    settingsSchema("A server of the Push API, whose documents land in the hub.", new(PushAPI)),
		"car":        settingsSchema("A service that CAR connectors import into; their sources land in the hub.", new(CAR)),
		"sahana":     sahanaSchema(),
		"cart":       settingsSchema("A service that clients of Pacifica order files from.", new(Cart)),
		"events":     eventsSchema(),
		"connectors": {Type: "object", Description: "Routes from a source to a destination, or between two sides, by name.", MinProperties: new(1)},
	})
	top.Schema = "https://json-schema.org/draft/2020-12/schema"
	top.Title = FileName
	for _, key := range append([]string{"connectors"}, serverKeys...) {
		top.AnyOf = append(top.AnyOf, &jsonschema.Schema{Required: []string{key}})
	}
	top.Properties["connectors"].PropertyNames = &jsonschema.Schema{Pattern: namePattern}
	top.Properties["connectors"].AdditionalProperties = &jsonschema.Schema{Ref: "#/$defs/connector"}
	top.Defs = map[string]*jsonschema.Schema{
		"connector": connectorSchema(),
		"from":      endSchema("Where records come from.", from, connectors),
		"to":        endSchema("Where records go.", to, connectors),
		"side":      endSchema("A side of a two-way connector; options go to the source and to the destination that know them.", both, connectors),
	}
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return append(text, '\n'), nil
}

func connectorSchema() *jsonschema.Schema {
	properties := map[string]*jsonschema.Schema{
		"from": {Ref: "#/$defs/from"},
		"to":   {Ref: "#/$defs/to"},
		"between": {
			Type: "array", Items: &jsonschema.Schema{Ref: "#/$defs/side"}, MinItems: new(2), MaxItems: new(2),
			Description: "Two sides that are kept equal, in place of from and to.",
		},
		"resolve": policySchema(),
		"deletes": settingsSchema("The guard of deletes: a run that exceeds both bounds stops instead.", new(Deletes)),
		"sync":    settingsSchema("How often pushed records are made durable; whichever comes first.", new(Sync)),
		"batch":   settingsSchema("What is handed on at once; whichever bound is reached first.", new(Batch)),
		"retry":   settingsSchema("How a recoverable failure is tried again within a run.", new(Retry)),
	}
	mappingSchema(properties)
	for _, o := range gapless.DescribeOptions(new(running)) {
		properties[o.Name] = optionSchema(o)
	}
	s := object("A route from a source to a destination, or between two sides.", connectorKeys, properties)
	s.AnyOf = []*jsonschema.Schema{{Required: []string{"from", "to"}}, {Required: []string{"between"}}}
	return s
}

// endSchema accepts the name of a kind, or a block of one kind with options.
func endSchema(help string, s end, connectors []gapless.Connector) *jsonschema.Schema {
	scalar := &jsonschema.Schema{Type: "string"}
	kinds := &jsonschema.Schema{Type: "object", MinProperties: new(1), MaxProperties: new(1), Properties: map[string]*jsonschema.Schema{}}
	kinds.AdditionalProperties = nothing()
	for _, c := range connectors {
		options, has := s.options(c)
		if !has {
			continue
		}
		block := optionsSchema(c.Summary, options)
		if len(block.Required) == 0 {
			scalar.Enum = append(scalar.Enum, c.Name)
			orNothing(block)
		}
		kinds.Properties[c.Name] = block
		kinds.PropertyOrder = append(kinds.PropertyOrder, c.Name)
	}
	choice := &jsonschema.Schema{Description: help, AnyOf: []*jsonschema.Schema{kinds}}
	if len(scalar.Enum) > 0 {
		choice.AnyOf = append(choice.AnyOf, scalar)
	}
	return choice
}

// settingsSchema describes an optional block.
func settingsSchema(help string, pointer any) *jsonschema.Schema {
	s := optionsSchema(help, gapless.DescribeOptions(pointer))
	orNothing(s)
	return s
}

// orNothing also accepts that nothing is written after the key.
func orNothing(s *jsonschema.Schema) { s.Type, s.Types = "", []string{s.Type, "null"} }

func optionsSchema(help string, options []gapless.Option) *jsonschema.Schema {
	properties := map[string]*jsonschema.Schema{}
	names := make([]string, 0, len(options))
	var required []string
	for _, o := range options {
		names = append(names, o.Name)
		properties[o.Name] = optionSchema(o)
		if o.Required {
			required = append(required, o.Name)
		}
	}
	s := object(help, names, properties)
	s.Required = required
	return s
}

func object(help string, order []string, properties map[string]*jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "object", Description: help, Properties: properties, PropertyOrder: order, AdditionalProperties: nothing(),
	}
}

func nothing() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }

// optionSchema describes one option. Whatever holds a reference is accepted:
// only loading tells what it stands for.
func optionSchema(o gapless.Option) *jsonschema.Schema {
	s := typeSchema(o)
	s.Description = o.Help
	if o.Example != "" {
		s.Examples = []any{o.Example}
	}
	if o.Default != "" {
		s.Default = defaultOf(o)
	}
	return s
}

func typeSchema(o gapless.Option) *jsonschema.Schema {
	ref := &jsonschema.Schema{Type: "string", Pattern: referencePattern}
	or := func(s *jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "null"}, ref}}
	}
	if len(o.Enum) > 0 {
		values := make([]any, len(o.Enum))
		for i, v := range o.Enum {
			values[i] = v
		}
		return or(&jsonschema.Schema{Enum: values})
	}
	switch o.Type {
	case "bool":
		return or(&jsonschema.Schema{Types: []string{"boolean", "string"}, Pattern: "^(?i:1|t|true|0|f|false)$"})
	case "integer":
		return or(&jsonschema.Schema{Types: []string{"integer", "string"}, Pattern: `^[+-]?\d+$`})
	case "number":
		return or(&jsonschema.Schema{Types: []string{"number", "string"}, Pattern: `\d|^[+-]?(?i:inf|infinity|nan)$`})
	case "duration":
		return or(&jsonschema.Schema{Types: []string{"string", "integer"}, Pattern: `^([+-]?0|\+?([\d.]+(ns|us|µs|μs|ms|s|m|h|d))+)$`, Maximum: new(0.0)})
	case "size":
		return or(&jsonschema.Schema{Types: []string{"integer", "string"}, Pattern: `^\+?\d+\s*([KMGT]iB|[kKMGT]?B)?$`})
	case "secret":
		return &jsonschema.Schema{Types: []string{"string", "null"}, Pattern: secretPattern}
	case "list":
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "array", Items: scalarSchema()}, scalarSchema()}}
	case "map":
		return &jsonschema.Schema{Types: []string{"object", "null"}, AdditionalProperties: scalarSchema()}
	}
	return scalarSchema()
}

func scalarSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Types: []string{"string", "number", "boolean", "null"}}
}

func defaultOf(o gapless.Option) json.RawMessage {
	switch o.Type {
	case "bool", "integer", "number":
		return json.RawMessage(o.Default)
	}
	return json.RawMessage(strconv.Quote(o.Default))
}
