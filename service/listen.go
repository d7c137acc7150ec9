package service

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gapless-sync/gapless"
)

// DefaultListen is the address of the daemon's HTTP listener.
const DefaultListen = "127.0.0.1:8077"

// checkListen refuses every address that others than this machine can reach:
// there are no credentials to ask for.
func checkListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return gapless.Errorf(gapless.CodeUsage, address, "want HOST:PORT: %w", gapless.Misconfigured(err)).
			WithHint("write for example --listen %s", DefaultListen)
	}
	if isLoopback(host) {
		return nil
	}
	return gapless.Errorf(gapless.CodeUnsafeListen, address, "everybody who reaches this address could read all records")
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// onlyLocal answers only requests that name this machine: a web page whose
// name was made to resolve to a loopback address names itself.
func onlyLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !isLoopback(host) {
			http.Error(w, "this address answers to localhost only", http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
