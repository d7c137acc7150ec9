package service

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gapless-sync/gapless"
)

func TestListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, address string
		exit          int
	}{
		{"IPv4", "127.0.0.1:8077", 0},
		{"IPv4, another loopback", "127.9.9.9:0", 0},
		{"IPv6", "[::1]:8077", 0},
		{"name", "localhost:8077", 0},
		{"everywhere", ":8077", 2},
		{"everywhere, IPv4", "0.0.0.0:8077", 2},
		{"everywhere, IPv6", "[::]:8077", 2},
		{"mapped", "[::ffff:10.0.0.1]:1", 2},
		{"network", "192.168.1.5:80", 2},
		{"another name", "localhost.example.org:80", 2},
		{"no port", "127.0.0.1", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if err := checkListen(test.address); gapless.ExitCode(err) != test.exit {
				t.Errorf("exit code %d of %v", gapless.ExitCode(err), err)
			}
		})
	}
}

func TestOnlyLocalNamesAreAnswered(t *testing.T) {
	t.Parallel()
	handler := onlyLocal(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for _, test := range []struct {
		name, host string
		want       int
	}{
		{"address", "127.0.0.1:8077", http.StatusTeapot},
		{"name", "localhost:8077", http.StatusTeapot},
		{"IPv6", "[::1]:8077", http.StatusTeapot},
		{"without port", "localhost", http.StatusTeapot},
		{"a page that was rebound", "evil.example:8077", http.StatusMisdirectedRequest},
		{"looks alike", "127.0.0.1.evil.example", http.StatusMisdirectedRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request := httptest.NewRequest(http.MethodGet, "/status", http.NoBody)
			request.Host = test.host
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			if answer.Code != test.want {
				t.Errorf("%d, want %d", answer.Code, test.want)
			}
		})
	}
}
