// Package gaplesstest is for tests of connectors and of the engine: outside
// systems in memory that can be edited, made to fail at any call, and crashed.
//
// It is imported by tests alone.
package gaplesstest
