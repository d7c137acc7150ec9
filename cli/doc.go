// Package cli is the command line of Gapless as an importable package: [Main]
// turns a catalogue of connectors into a complete command. An author's own
// binary is one file:
//
//	func main() {
//		os.Exit(cli.Main(catalog.Builtin().With(mine)))
//	}
//
// Every command is one file with one constructor; its options are a struct
// that lives as long as the invocation. What a command may know of the world
// (arguments, folder, variables, terminal, signals, open stores) is in one
// value, so that the daemon executes the very same commands for others.
//
// Nothing is decided here: commands gather arguments, call the packages below
// and print what those say, as text for people or as JSON for machines.
package cli
