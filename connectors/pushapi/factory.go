package pushapi

// Factory makes clients. The zero value makes clients with default options.
type Factory struct {
	// Options of the clients that NewHTTP makes.
	Options HTTPOptions
	// Server that the clients of NewFake talk to; each to one of its own if
	// nil.
	Server *FakeServer
}

// NewHTTP returns a client as [NewHTTP] does.
func (f Factory) NewHTTP(version Version, host, port, connectorName, connectorType, login, password string) (PushAPI, error) {
	c, err := NewHTTP(version, host, port, connectorName, connectorType, login, password, f.Options)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return c, nil
}

// NewFake returns a client of a server in memory.
func (f Factory) NewFake(connectorName string) *FakePushAPI {
	if f.Server == nil {
		f.Server = NewFakeServer()
	}
	return f.Server.Connect(connectorName)
}
