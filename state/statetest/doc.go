// Package statetest holds every implementation of state.Store to its contract.
// An implementation's own test is one call of [Run] with a function that opens
// an empty store; what only that implementation can get wrong (files,
// connections, crashes) it tests itself.
//
// The package is imported by tests alone and knows nothing but the interface.
package statetest
