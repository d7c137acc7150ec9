package config

import "github.com/google/jsonschema-go/jsonschema"

func mappingSchema(map[string]*jsonschema.Schema) {}

func (w *sampleWriter) mapping(string) {}
