// Package stamp tells from what the file system says about a file, without
// reading it, whether the file is still the same, and when that cannot be told.
//
// No file is opened, listed or read here.
package stamp
