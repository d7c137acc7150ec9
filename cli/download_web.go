package cli

import (
	"crypto/tls"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/gapless-sync/gapless/connectors/pacifica"
	"github.com/gapless-sync/gapless/transfer"
)

// newWeb returns a supplier of URLs. The credentials are for the server of base
// alone: whoever wrote the list may have named any other.
func newWeb(base *url.URL, access pacifica.Access, streams int) (*transfer.Web, error) {
	header, err := authorization(access)
	if err != nil {
		return nil, err
	}
	certified := access.TLS != nil && len(access.TLS.Certificates) > 0
	if len(header) == 0 && access.TLS == nil {
		return transfer.NewWeb(transfer.WebOptions{}), nil
	}
	if base == nil && (len(header) > 0 || certified) {
		return nil, usage("credentials for --manifest go to the server of --base, which is missing")
	}
	foreign := access.TLS
	if certified {
		foreign = access.TLS.Clone()
		foreign.Certificates = nil
	}
	door := &webDoor{base: base, header: header, inside: newTransport(access.TLS, streams), outside: newTransport(foreign, streams)}
	return transfer.NewWeb(transfer.WebOptions{Client: &http.Client{Transport: door}}), nil
}

// authorization returns the headers of credentials.
func authorization(access pacifica.Access) (http.Header, error) {
	r := http.Request{Header: http.Header{}}
	maps.Copy(r.Header, access.Header)
	kinds := len(r.Header.Values("Authorization"))
	if access.Login != "" {
		kinds++
		r.SetBasicAuth(access.Login, access.Password.Reveal())
	}
	if access.Token != "" {
		kinds++
		r.Header.Set("Authorization", "Bearer "+access.Token.Reveal())
	}
	switch {
	case kinds > 1:
		return nil, usage("a login, a token and a header Authorization exclude each other")
	case access.Login == "" && access.Password != "":
		return nil, usage("--password-file is for --user")
	}
	return r.Header, nil
}

// webDoor lets requests out, with the credentials only to the server of base.
type webDoor struct {
	base            *url.URL
	header          http.Header
	inside, outside *http.Transport
}

func newTransport(conf *tls.Config, streams int) *http.Transport {
	t := &http.Transport{}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		t = standard.Clone()
	}
	t.TLSClientConfig, t.DisableCompression, t.MaxIdleConnsPerHost = conf, true, streams
	return t
}

// RoundTrip implements [http.RoundTripper].
func (d *webDoor) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.base == nil || r.URL.Scheme != d.base.Scheme || !strings.EqualFold(r.URL.Host, d.base.Host) {
		return d.outside.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	maps.Copy(r.Header, d.header)
	return d.inside.RoundTrip(r)
}

// CloseIdleConnections is called by the client that uses the door.
func (d *webDoor) CloseIdleConnections() {
	d.inside.CloseIdleConnections()
	d.outside.CloseIdleConnections()
}
