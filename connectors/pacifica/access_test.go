package pacifica

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

// TestCredentialsOnEveryRequest has every kind of credential, on every request.
func TestCredentialsOnEveryRequest(t *testing.T) {
	t.Parallel()
	netrc := filepath.Join(t.TempDir(), "netrc")
	must(t, os.WriteFile(netrc, []byte("machine 127.0.0.1 login anna password s3cret\n"), 0o600))
	const basic = "Basic YW5uYTpzM2NyZXQ="
	tests := []struct {
		name   string
		access Access
		user   string // in the address
		want   string
	}{
		{"none", Access{getenv: noEnv}, "", ""},
		{"login", Access{Login: "anna", Password: "s3cret", getenv: noEnv}, "", basic},
		{"token", Access{Token: "t0ken", getenv: noEnv}, "", "Bearer t0ken"},
		{"header", Access{Header: http.Header{"Authorization": {"Digest x"}}, getenv: noEnv}, "", "Digest x"},
		{"address", Access{getenv: noEnv}, "anna:s3cret@", basic},
		{"netrc", Access{getenv: func(name string) string { return map[string]string{"NETRC": netrc}[name] }}, "", basic},
		{"token before netrc", Access{Token: "t0ken", getenv: func(name string) string { return map[string]string{"NETRC": netrc}[name] }}, "", "Bearer t0ken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newCartServer(t)
			opts := CartOptions{URL: strings.Replace(s.URL, "http://", "http://"+tt.user, 1), Access: tt.access}
			opts.sleep = noSleep
			d, _ := newDownloader(t, opts)
			_, err := d.Files(t.Context(), seqOf(s.files()), DownloadOptions{})
			must(t, err)
			seen := map[string]int{}
			for _, r := range s.requests() {
				seen[r.Method]++
				if got := r.Header.Get("Authorization"); got != tt.want {
					t.Errorf("%s: %q", r.Method, got)
				}
			}
			if len(seen) != 4 {
				t.Errorf("requests: %v", seen)
			}
		})
	}
}

// TestRefusedCredentials has those that contradict each other or cannot be sent,
// without repeating them.
func TestRefusedCredentials(t *testing.T) {
	t.Parallel()
	for name, access := range map[string]Access{
		"token and login":     {Token: "s3cret", Login: "anna"},
		"header and login":    {Header: http.Header{"Authorization": {"s3cret"}}, Login: "anna"},
		"password alone":      {Password: "s3cret"},
		"colon":               {Login: "a:b", Password: "s3cret"},
		"line feed in token":  {Token: "s3cret\r\nX-Evil: 1"},
		"line feed in header": {Header: http.Header{"X-Key": {"s3cret\n"}}},
		"no name of a header": {Header: http.Header{"X Key": {"s3cret"}}},
		"netrc not there":     {getenv: func(name string) string { return map[string]string{"NETRC": "/nowhere/netrc"}[name] }},
	} {
		if access.getenv == nil {
			access.getenv = noEnv
		}
		_, err := NewCartAPI(CartOptions{URL: "http://h", Access: access})
		if gapless.ExitCode(err) != gapless.ExitUsage || strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestSecretsInAnswers has a server that repeats what it was sent.
func TestSecretsInAnswers(t *testing.T) {
	t.Parallel()
	for name, access := range map[string]Access{
		"login":  {Login: "anna", Password: "p w/s3cret"},
		"token":  {Token: "s3cret-token"},
		"header": {Header: http.Header{"X-Key": {"key s3cret"}}},
	} {
		for _, inHeader := range []bool{false, true} {
			s := newCartServer(t)
			s.act = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				said := fmt.Sprintf("no: %v, %q", r.Header, []string{access.Password.Reveal(), url.QueryEscape(access.Password.Reveal()), url.PathEscape(access.Password.Reveal())})
				switch {
				case r.Method == http.MethodHead:
					pacificaHeaders(w, http.StatusInternalServerError, "error", said)
				case !inHeader && r.Method == http.MethodPost:
					http.Error(w, `{"message": "`+strings.ReplaceAll(said, `"`, "'")+`"}`, http.StatusBadRequest)
				default:
					return false
				}
				return true
			}
			access.sleep, access.getenv = noSleep, noEnv
			a := newCarts(t, CartOptions{URL: s.URL, Access: access})
			cart, err := a.SetupCart(t.Context(), seqOf(s.files()))
			if err == nil {
				err = a.WaitForCart(t.Context(), cart, 0)
			}
			text := fmt.Sprint(err)
			if err == nil || !strings.Contains(text, "no: map") || strings.Contains(text, "s3cret") || strings.Contains(text, "czNjcmV0") {
				t.Errorf("%s, in header %t: %v", name, inHeader, err)
			}
		}
	}
}

// TestRedirects follows them as the original does, without credentials to
// anybody else.
func TestRedirects(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	var mu sync.Mutex // guards got
	var got []string
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Method+" "+r.Header.Get("X-Key")+" "+r.Header.Get("Authorization"))
		http.Redirect(w, r, strings.Replace(s.URL, "127.0.0.1", "localhost", 1)+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(front.Close)
	opts := s.options()
	opts.URL, opts.Token, opts.Header = front.URL, "t0ken", http.Header{"X-Key": {"k3y"}}
	d, dir := newDownloader(t, opts)
	_, err := d.Files(t.Context(), seqOf(s.files()), DownloadOptions{})
	must(t, err)
	check(t, dir, s.paths())
	mu.Lock()
	defer mu.Unlock()
	for _, r := range s.requests() {
		if r.Header.Get("Authorization")+r.Header.Get("X-Key") != "" {
			t.Errorf("%s to another host: %v", r.Method, r.Header)
		}
	}
	for _, line := range got {
		if !strings.HasSuffix(line, " k3y Bearer t0ken") {
			t.Errorf("to the host itself: %s", line)
		}
	}
	if len(got) < 4 || len(s.requests()) != len(got) {
		t.Errorf("%d requests, %d of them redirected", len(got), len(s.requests()))
	}
}

// TestCertificates connects with a client certificate and to an authority of its
// own, and shows that certificate to nobody else.
func TestCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	writePair(t, certificate, key)
	s := newCartServer(t)
	var mu sync.Mutex // guards shown
	var shown []int
	secure := func(next http.Handler) *httptest.Server {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			shown = append(shown, len(r.TLS.PeerCertificates))
			mu.Unlock()
			next.ServeHTTP(w, r)
		}))
		server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	home := secure(s)
	ca := filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: home.Certificate().Raw}), 0o600))
	conf, err := TLSFiles(ca, certificate, key)
	must(t, err)
	opts := s.options()
	opts.URL, opts.TLS = home.URL, conf
	d, target := newDownloader(t, opts)
	_, err = d.Files(t.Context(), seqOf(s.files()), DownloadOptions{})
	must(t, err)
	check(t, target, s.paths())
	certificates := func() []int {
		mu.Lock()
		defer mu.Unlock()
		was := shown
		shown = nil
		return was
	}
	if was := certificates(); slices.Contains(was, 0) || len(was) == 0 {
		t.Errorf("certificates shown: %v", was)
	}

	abroad := secure(http.NotFoundHandler())
	s.act = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		http.Redirect(w, r, abroad.URL, http.StatusTemporaryRedirect)
		return true
	}
	_ = newCarts(t, opts).WaitForCart(t.Context(), home.URL+"/x", time.Second)
	if was := certificates(); fmt.Sprint(was) != "[1 0]" {
		t.Errorf("certificates shown at home and abroad: %v", was)
	}
	s.act = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		http.Redirect(w, r, s.URL, http.StatusTemporaryRedirect)
		return true
	}
	opts.Retries = -1
	if err := newCarts(t, opts).WaitForCart(t.Context(), home.URL+"/x", time.Second); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("got %v", err)
	}
}

func writePair(t *testing.T, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "anna"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	text, err := x509.MarshalECPrivateKey(private)
	must(t, err)
	must(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}), 0o600))
}

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	must(t, os.WriteFile(empty, nil, 0o600))
	for _, paths := range [][3]string{{empty, "", ""}, {"/nowhere", "", ""}, {"", empty, ""}, {"", "", empty}, {"", empty, empty}} {
		if _, err := TLSFiles(paths[0], paths[1], paths[2]); gapless.ExitCode(err) != gapless.ExitUsage {
			t.Errorf("%v: %v", paths, err)
		}
	}
	if conf, err := TLSFiles("", "", ""); conf != nil || err != nil {
		t.Errorf("%v, %v", conf, err)
	}
}

func TestNetrc(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, login, password string }{
		{"one line", "machine h login anna password s3cret", "anna", "s3cret"},
		{"several lines", "machine other login x password y\nmachine h\n\tlogin anna\n\taccount z\n\tpassword s3cret\nmachine last login b", "anna", "s3cret"},
		{"in capitals", "machine H login anna password s3cret", "anna", "s3cret"},
		{"default", "machine other login x password y\ndefault login anna password s3cret", "anna", "s3cret"},
		{"default first", "default login anna password s3cret\nmachine h login x password y", "anna", "s3cret"},
		{"nobody", "machine other login x password y", "", ""},
		{"a password that is a keyword", "machine other login default password machine\nmachine h login anna password login", "anna", "login"},
		{"comments", "# machine h login x password y\nmachine h # here\nlogin anna password #s3cret # end", "anna", "#s3cret"},
		{"quotes", `machine h login "an na" password "s3\"cret"`, "an na", `s3"cret`},
		{"macro", "macdef init\nmachine h login x password y\n\nmachine h login anna password s3cret", "anna", "s3cret"},
		{"cut short", "machine h login", "", ""},
		{"nothing", "", "", ""},
	}
	for _, tt := range tests {
		if login, password := findNetrc(tt.text, "h"); login != tt.login || password != tt.password {
			t.Errorf("%s: %q, %q", tt.name, login, password)
		}
	}
}

func TestNetrcInHome(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	getenv := func(name string) string { return map[string]string{"HOME": home}[name] }
	login, _, err := netrcLogin("h", getenv)
	if login != "" || err != nil {
		t.Errorf("%q, %v", login, err)
	}
	must(t, os.WriteFile(filepath.Join(home, ".netrc"), []byte("machine h login anna"), 0o600))
	if login, _, err := netrcLogin("h", getenv); login != "anna" || err != nil {
		t.Errorf("%q, %v", login, err)
	}
	must(t, os.WriteFile(filepath.Join(home, ".netrc"), make([]byte, maxNetrc+1), 0o600))
	if _, _, err := netrcLogin("h", getenv); gapless.ExitCode(err) != gapless.ExitUsage {
		t.Errorf("%v", err)
	}
}

func FuzzNetrc(f *testing.F) {
	f.Add("machine h login a password b")
	f.Add("macdef x\n\ndefault login \"a\\\"")
	f.Fuzz(func(t *testing.T, text string) {
		login, password := findNetrc(text, "h")
		if len(login)+len(password) > len(text) {
			t.Errorf("%q, %q", login, password)
		}
	})
}

// TestPolicyServer has answers of a policy server that cannot be used, and one
// that breaks off once.
func TestPolicyServer(t *testing.T) {
	t.Parallel()
	var brokenOff atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]; id {
		case "1":
			if !brokenOff.Swap(true) {
				_, _ = io.WriteString(w, `{"files": {`)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, `{"files": {}}`)
		case "2":
			_, _ = io.WriteString(w, "<html>s3cret</html>")
		case "3":
			w.WriteHeader(http.StatusNotFound)
		case "4":
			w.WriteHeader(http.StatusForbidden)
		case "5":
			_, _ = io.WriteString(w, `{"status": "500 Internal Server Error", "message": "broken", "traceback": ""}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	access := Access{Token: "s3cret", Retries: 1, getenv: noEnv, sleep: func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }}
	p, err := NewPolicy(server.URL, access)
	must(t, err)
	for id, want := range []int{1: 0, 2: 55, 3: 1, 4: 53, 5: 55, 6: 10} {
		if id == 0 {
			continue
		}
		_, err := p.Transaction(t.Context(), int64(id))
		if got := gapless.ExitCode(err); got != want || strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("transaction %d: exit %d, want %d: %v", id, got, want, err)
		}
	}
	must(t, p.Close())
}
