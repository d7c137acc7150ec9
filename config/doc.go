// Package config turns gapless.yaml into typed values, strictly: every key
// must be known, every value must fit, and every mistake is reported at once
// with file, line, column, the offending line and what to write instead.
//
// [Load] reads and checks a configuration against a list of connectors;
// [Schema] describes the same language to editors; [Sample] writes a first
// one. What a connector's own options mean is declared by the connector, and
// checked here without opening it.
//
// Nothing here opens a connector, touches state or decides how to run. The
// package alone knows that the language is YAML.
package config
