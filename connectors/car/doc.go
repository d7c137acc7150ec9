// Package car speaks the protocol of CAR services, which hold a graph of assets
// and what is connected to them: as a destination, as a source, and as a plain
// client for whoever needs single requests.
//
// [Client] has one method per exchange. [NewDestination] pushes any source into
// a service, [NewSource] reads one by its queries. What both sides of the wire
// share is in package wire; the service itself is in package server.
//
// Nothing here plans a run, stores records or knows a configuration file.
package car
