package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// The ways to reach a relay, as the scheme of an address.
const (
	UDP             = "udp"
	TCP             = "tcp" // frames of RFC 4571
	TLS             = "tls" // the same, encrypted
	WebSocket       = "ws"
	SecureWebSocket = "wss"
)

// An Address says how and where a relay is reached.
type Address struct {
	Scheme string // one of the above
	Host   string // HOST:PORT
	Path   string // of a WebSocket, from its / on, with its query; else empty
}

// String returns the address as ParseAddress takes it: that of UDP is HOST:PORT
// alone.
func (a Address) String() string {
	if a.Scheme == UDP {
		return a.Host
	}
	return a.Scheme + "://" + a.Host + a.Path
}

// IsWebSocket reports whether the relay is reached by HTTP.
func (a Address) IsWebSocket() bool { return a.Scheme == WebSocket || a.Scheme == SecureWebSocket }

// IsEncrypted reports whether the relay shows a certificate.
func (a Address) IsEncrypted() bool { return a.Scheme == TLS || a.Scheme == SecureWebSocket }

// An AddressError is an address that is none of a relay.
type AddressError struct {
	Address string
	Problem string
	Form    string // what is wanted: HOST:PORT, or that with a scheme
	Want    string // the same host as it would do
}

func (e *AddressError) Error() string { return fmt.Sprintf("address %q: %s", e.Address, e.Problem) }

// forms are what an address looks like, by its scheme.
var forms = map[string]string{
	UDP: "HOST:PORT", TCP: "tcp://HOST:PORT", TLS: "tls://HOST:PORT",
	WebSocket: "ws://HOST:PORT/PATH", SecureWebSocket: "wss://HOST:PORT/PATH",
}

// ports are what a WebSocket without a port has (RFC 6455, section 3).
var ports = map[string]string{WebSocket: "80", SecureWebSocket: "443"}

// ParseAddress returns the relay that address names: HOST:PORT or
// udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/PATH or
// wss://HOST:PORT/PATH, of which the latter two need no port and no path. The
// error is an *AddressError. It resolves nothing.
func ParseAddress(address string) (Address, error) {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		scheme, rest = UDP, address
	}
	a := Address{Scheme: strings.ToLower(scheme), Host: rest}
	form, known := forms[a.Scheme]
	if !known {
		return Address{}, &AddressError{address, fmt.Sprintf("%q is no way to reach a relay", scheme),
			"HOST:PORT (UDP), or tcp://, tls://, ws:// or wss:// before it", "tcp://localhost:9000"}
	}
	if a.IsWebSocket() {
		if at := strings.IndexAny(rest, "/?#"); at >= 0 {
			a.Host, a.Path = rest[:at], rest[at:]
		}
		if !strings.HasPrefix(a.Path, "/") {
			a.Path = "/" + a.Path
		}
		if _, port, err := net.SplitHostPort(a.Host); (err != nil && isHost(a.Host)) || (err == nil && port == "") {
			a.Host = strings.TrimSuffix(a.Host, ":") + ":" + ports[a.Scheme]
		}
	}
	fail := func(problem, want string) (Address, error) {
		if a.Scheme != UDP {
			want = a.Scheme + "://" + want + a.Path
		}
		return Address{}, &AddressError{address, problem, form, want}
	}
	if host, _, found := strings.Cut(a.Host, "/"); found && host != "" && a.Scheme != UDP {
		return fail("a path has a meaning only with ws:// and wss://", host)
	}
	if a.Scheme != UDP && strings.ContainsAny(a.Host, "@/?# ") {
		return fail("only a host and a port are wanted before the path", "localhost:9000")
	}
	if bad := (*AddressError)(nil); errors.As(CheckAddress(a.Host), &bad) {
		return fail(bad.Problem, bad.Want)
	}
	if a.IsWebSocket() {
		if _, err := url.ParseRequestURI(a.Path); err != nil || strings.ContainsAny(a.Path, "# ") {
			a.Path = "/"
			return fail("the path cannot be understood", a.Host)
		}
		if _, err := url.Parse(a.url()); err != nil {
			a.Path = "/"
			return fail("the host cannot be understood", "localhost:9000")
		}
	}
	return a, nil
}

// isHost reports whether host is one without a port.
func isHost(host string) bool {
	if strings.HasPrefix(host, "[") {
		return strings.HasSuffix(host, "]")
	}
	return host != "" && !strings.Contains(host, ":")
}

// url returns the address of a WebSocket as HTTP has it, where the zone of an
// IPv6 address is escaped.
func (a Address) url() string {
	return a.Scheme + "://" + (&url.URL{Scheme: "x", Host: a.Host}).String()[len("x://"):] + a.Path
}

// CheckAddress returns an *AddressError unless address is HOST:PORT: a name, an
// IPv4 address or a bracketed IPv6 address, with a zone or without, and a port
// from 1 to 65535. It resolves nothing.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	problem := ""
	switch reason := (*net.AddrError)(nil); {
	case errors.As(err, &reason) && strings.Count(address, ":") > 1 && !strings.HasPrefix(address, "["):
		host, problem = address, "an IPv6 address goes in brackets, and a port after them"
	case errors.As(err, &reason) && reason.Err == "missing port in address":
		host, problem = strings.Trim(address, "[]"), "the port is missing"
	case err != nil:
		host, problem = "", "cannot be understood"
	case host == "":
		problem = "the host is missing"
	case !isPort(port):
		problem = fmt.Sprintf("port %q is not a number from 1 to 65535", port)
	default:
		return nil
	}
	if host == "" {
		host = "localhost"
	}
	return &AddressError{address, problem, forms[UDP], net.JoinHostPort(host, "9000")}
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
