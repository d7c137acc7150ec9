//go:build !linux

package main

// fileSystem is not known here.
func fileSystem(string) string { return "unknown" }

// residentMemory is not known here.
func residentMemory() (peak, program int64) { return 0, 0 }

// processor is not known here.
func processor() string { return "unknown processor" }
