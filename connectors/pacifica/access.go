package pacifica

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// Access says how requests reach a server and who they come from. The zero
// value takes the login from the netrc file, if that has one for the host.
// Whatever is given here goes along with every request to that server, and
// with none to another that it redirects to.
type Access struct {
	// Login and Password are sent by basic authentication.
	Login    string
	Password gapless.Secret
	// Token is sent as a bearer token; it excludes a login.
	Token gapless.Secret
	// Header is sent as it is.
	Header http.Header
	// TLS is the configuration of HTTPS, with client certificates and trusted
	// authorities; nil is the default one. See [TLSFiles].
	TLS *tls.Config
	// Timeout is how long a server may be silent, within a body too. Defaults
	// to 1 min.
	Timeout time.Duration
	// Retries is how often a request is sent again if a server is unreachable
	// or overloaded. Defaults to 4; negative means never.
	Retries int

	sleep  func(ctx context.Context, d time.Duration) error
	getenv func(string) string
}

// setDefaults is called once: what is negative becomes 0.
func (a *Access) setDefaults() {
	a.Timeout = cmp.Or(a.Timeout, time.Minute)
	a.Retries = max(0, cmp.Or(a.Retries, 4))
	if a.sleep == nil {
		a.sleep = httpx.Sleep
	}
}

// env returns a variable of the environment.
func (a *Access) env(name string) string {
	if a.getenv != nil {
		return a.getenv(name)
	}
	return os.Getenv(name)
}

// credentials returns the headers that prove who sends a request to base, and
// the texts in them that nobody may read. userinfo is that of the address.
func (a *Access) credentials(base *url.URL, userinfo *url.Userinfo) (header http.Header, secrets []string, err error) {
	header = http.Header{}
	for name, values := range a.Header {
		for _, value := range values {
			header.Add(name, value)
			_, word, _ := strings.Cut(value, " ")
			secrets = append(secrets, value, word)
		}
	}
	login, password := a.Login, a.Password.Reveal()
	given := login != "" || password != "" || a.Token != "" || header.Get("Authorization") != ""
	if !given && userinfo != nil {
		login = userinfo.Username()
		password, _ = userinfo.Password()
	} else if !given {
		if login, password, err = netrcLogin(base.Hostname(), a.env); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case a.Token != "" && (login != "" || password != ""):
		return nil, nil, invalidOption("token", errors.New("a token and a login exclude each other"))
	case header.Get("Authorization") != "" && (a.Token != "" || login != "" || password != ""):
		return nil, nil, invalidOption("header", errors.New("the header Authorization excludes a login and a token"))
	case a.Token != "":
		header.Set("Authorization", "Bearer "+a.Token.Reveal())
		secrets = append(secrets, a.Token.Reveal())
	case login == "" && password != "":
		return nil, nil, invalidOption("login", errors.New("a password needs a login"))
	case strings.Contains(login, ":"):
		return nil, nil, invalidOption("login", errors.New("the login has a colon"))
	case login != "":
		text := base64.StdEncoding.EncodeToString([]byte(login + ":" + password))
		header.Set("Authorization", "Basic "+text)
		secrets = append(secrets, text, password)
	}
	for name, values := range header {
		if name == "" || strings.ContainsFunc(name, notToken) || slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "\r\n\x00") }) {
			return nil, nil, invalidOption("header", errors.New("a credential or header has characters that cannot be sent"))
		}
	}
	return header, slices.DeleteFunc(secrets, func(s string) bool { return s == "" }), nil
}

func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// door lets requests out: with the credentials to the server that they are
// for, without them to any other.
type door struct {
	origin       string
	header       http.Header
	home, abroad *http.Transport
}

func newDoor(base *url.URL, header http.Header, conf *tls.Config) *door {
	foreign := &tls.Config{MinVersion: tls.VersionTLS12}
	if conf != nil {
		foreign = conf.Clone()
		foreign.Certificates, foreign.GetClientCertificate = nil, nil
	}
	return &door{origin: originOf(base), header: header, home: newTransport(conf), abroad: newTransport(foreign)}
}

func newTransport(conf *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     conf,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		ReadBufferSize:      64 << 10,
		DisableCompression:  true,
	}
}

// RoundTrip implements [http.RoundTripper].
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	if originOf(r.URL) != d.origin {
		return d.abroad.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	maps.Copy(r.Header, d.header)
	return d.home.RoundTrip(r)
}

func (d *door) close() {
	d.home.CloseIdleConnections()
	d.abroad.CloseIdleConnections()
}

// originOf returns scheme, host and port, such as https://h:443.
func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" && u.Scheme == "https" {
		port = "443"
	} else if port == "" {
		port = "80"
	}
	return u.Scheme + "://" + strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

// maxRedirects is how often one request is sent elsewhere.
const maxRedirects = 5

func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("redirected more than %d times", maxRedirects)
	case via[0].URL.Scheme == "https" && next.URL.Scheme != "https":
		return errors.New("redirected from https to " + next.URL.Scheme)
	}
	return nil
}

// parseBase returns the address below which all requests of an option are, and
// the credentials that it held.
func parseBase(option, text string) (*url.URL, *url.Userinfo, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, nil, invalidOption(option, errors.New("is no URL")) // the error repeats what may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, nil, invalidOption(option, errors.New("is not of the form https://host:8081"))
	case u.RawQuery != "" || u.Fragment != "":
		return nil, nil, invalidOption(option, errors.New("has a query or a fragment"))
	}
	userinfo := u.User
	u.User = nil
	u.RawPath = ""
	u.Path = strings.TrimRight(u.Path, "/")
	return u, userinfo, nil
}

func invalidOption(option string, err error) error {
	return gapless.Misconfigured(gapless.OptionError{Option: option, Problem: err.Error(), Code: gapless.CodeInvalidOption})
}
