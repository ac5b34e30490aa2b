package gateway

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

const (
	// subprotocol is what a client may name in its handshake, and must beside
	// the secret.
	subprotocol = "udprelay"

	// secretPrefix is how the subprotocol begins that is the secret, in base64
	// for URLs without padding. Browsers can set nothing else in a handshake.
	secretPrefix = "udprelay.secret."

	// mostPrinted is how many characters of a foreign text are told again.
	mostPrinted = 100
)

// asksForWebSocket reports whether the request is meant to be a handshake.
func asksForWebSocket(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || r.Header.Get("Sec-WebSocket-Key") != ""
}

// welcomes reports whether the page that opens the WebSocket may do so, if it is
// a page: every browser says by Origin where it has it from.
func welcomes(r *http.Request, secured bool, options *Options) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	origin := origins[0]
	if len(origins) > 1 {
		return false
	}
	if slices.ContainsFunc(options.Origins, func(allowed string) bool { return allowed == "*" || strings.EqualFold(allowed, origin) }) {
		return true
	}
	from, err := url.Parse(origin)
	own := err == nil && (from.Scheme == "http" || from.Scheme == "https") && strings.EqualFold(from.Host, r.Host)
	return own && isHere(r.Host, secured, options)
}

// isHere reports whether the header Host is one that no foreign page can have.
// Its owner could have a name lead here once a browser has the page (DNS
// rebinding), and the page would pass for one of our own. What cannot be his is
// an IP address, localhost, the name that the gateway listens at, that of an
// origin that may connect, and, where it is secured by TLS, every name, for the
// browser has taken our certificate for it.
func isHere(header string, secured bool, options *Options) bool {
	host := hostOf(header)
	if _, err := netip.ParseAddr(host); err == nil || secured || host == "localhost" {
		return true
	}
	if host == "" {
		return false
	}
	return host == hostOf(options.WebSocket) || slices.ContainsFunc(options.Origins, func(origin string) bool {
		allowed, err := url.Parse(origin)
		return origin == "*" || err == nil && host == hostOf(allowed.Host)
	})
}

// hostOf returns the host of host:port or host, in lower case.
func hostOf(hostPort string) string {
	host := hostPort
	if without, _, err := net.SplitHostPort(hostPort); err == nil {
		host = without
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// secretIn returns the secret that the handshake shows, or nil. It is not ok if
// what it shows is none.
func secretIn(r *http.Request) (secret []byte, ok bool) {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			text, shown := strings.CutPrefix(strings.TrimSpace(name), secretPrefix)
			if !shown {
				continue
			}
			secret, err := base64.RawURLEncoding.Strict().DecodeString(text)
			return secret, err == nil
		}
	}
	return nil, true
}

// printable returns foreign text as one line of a bounded length.
func printable(text string) string {
	if text == "" {
		return "nobody"
	}
	clean := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text))
	if len(clean) > mostPrinted {
		return string(clean[:mostPrinted]) + "…"
	}
	return string(clean)
}
