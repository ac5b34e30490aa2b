package config

import (
	"fmt"
	"net/netip"
	"strings"
)

const (
	listenWant = `host:port such as ":9000" or "192.0.2.1:9000"`
	staticWant = `host:port such as collector.example:2055 or "[2001:db8::1]:2055"`
	httpWant   = `host:port such as "127.0.0.1:9001", or none or "" to turn it off`
)

// An endpoint is a host:port that has been taken apart. The zero endpoint
// stands for one that was wrong.
type endpoint struct {
	host string
	addr netip.Addr // the host if it is an IP address, unmapped; else invalid
	port int
}

// parseToListen takes apart where to listen; judge says what is wrong with its
// host.
func parseToListen(text, want string, judge func(text string, e endpoint) (wrong string)) (endpoint, string) {
	e, wrong := parseEndpoint(text, want)
	switch {
	case wrong != "":
	case e.port < 0 || e.port > 65535:
		wrong = fmt.Sprintf("port %s is out of range; want 1 to 65535 (0 lets the system choose)", portOf(text))
	default:
		wrong = judge(text, e)
	}
	if wrong != "" {
		return endpoint{}, wrong
	}
	return e, ""
}

// parseOrNone does what parseToListen does. Nowhere, "" or None, is the zero
// endpoint.
func parseOrNone(text, want string, judge func(text string, e endpoint) (wrong string)) (endpoint, string) {
	if given(text) == "" {
		return endpoint{}, ""
	}
	if near := closest(text, []string{None}); near != "" && !strings.Contains(text, ":") {
		return endpoint{}, fmt.Sprintf("unknown word %q; did you mean %q?", text, near)
	}
	return parseToListen(text, want, judge)
}

// judgeListen lets the host be left out, which stands for every address.
func judgeListen(_ string, e endpoint) (wrong string) {
	switch e.host {
	case "":
		return ""
	case "*":
		return fmt.Sprintf(`"*" is no host; want ":%d" for every address`, e.port)
	}
	return checkHost(e, "an address of this machine")
}

// judgeHTTP does not: nobody is to open it to others by leaving something out.
func judgeHTTP(text string, e endpoint) (wrong string) {
	if e.host == "" || e.host == "*" {
		return fmt.Sprintf(`%q stands for every address; want "127.0.0.1:%d", or "[::]:%d" if others are to read who the peers are`, text, e.port, e.port)
	}
	return checkHost(e, "an address of this machine")
}

// parseToReach takes apart where to send or connect to; one says what it may be
// the address of.
func parseToReach(text, want, one string) (endpoint, string) {
	e, wrong := parseEndpoint(text, want)
	switch {
	case wrong != "":
	case e.port < 1 || e.port > 65535:
		wrong = fmt.Sprintf("port %s is out of range; want 1 to 65535", portOf(text))
	case e.host == "":
		wrong = fmt.Sprintf("%q has no host; want %s", text, want)
	case e.addr.IsValid() && e.addr.IsUnspecified():
		wrong = fmt.Sprintf("%s stands for every address; want %s", e.addr, one)
	default:
		wrong = checkHost(e, one)
	}
	if wrong != "" {
		return endpoint{}, wrong
	}
	return e, ""
}

// parseEndpoint takes text apart; it does not judge host and port.
func parseEndpoint(text, want string) (e endpoint, wrong string) {
	host, port, wrong := splitHostPort(text, want)
	if wrong != "" {
		return endpoint{}, wrong
	}
	if e.port, wrong = parseWhole(port); wrong != "" {
		return endpoint{}, fmt.Sprintf("port %q %s; want %s", port, wrong, want)
	}
	e.host = host
	if addr, err := netip.ParseAddr(host); err == nil {
		e.addr = addr.Unmap()
	}
	return e, ""
}

func splitHostPort(text, want string) (host, port, wrong string) {
	colon := strings.LastIndexByte(text, ':')
	if scheme, _, found := strings.Cut(text, "://"); found {
		return "", "", fmt.Sprintf("%q is a URL; want host:port, without %q", text, scheme+"://")
	}
	if colon < 0 {
		if strings.Trim(text, "0123456789") == "" {
			return "", "", fmt.Sprintf("%q is only a port; want %s", text, want)
		}
		return "", "", fmt.Sprintf("%q has no port; want %s", text, want)
	}
	host, port = text[:colon], text[colon+1:]
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		inner, closed := strings.CutSuffix(inner, "]")
		if addr, err := netip.ParseAddr(inner); !closed || err != nil || !addr.Is6() || addr.Is4In6() && addr.Zone() != "" {
			return "", "", fmt.Sprintf("%q is no IPv6 address in brackets and a port; want %s", text, want)
		}
		return inner, port, ""
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(text); err == nil {
			return "", "", fmt.Sprintf(`%q is an IPv6 address without brackets; want "[ADDRESS]:PORT"`, text)
		}
		if _, err := netip.ParseAddr(host); err == nil {
			return "", "", fmt.Sprintf("%q is an IPv6 address without brackets; want %q", text, "["+host+"]:"+port)
		}
		return "", "", fmt.Sprintf("%q has too many colons; want %s", text, want)
	}
	if port == "" {
		return "", "", fmt.Sprintf("%q has no port; want %s", text, want)
	}
	return host, port, ""
}

func portOf(text string) string { return text[strings.LastIndexByte(text, ':')+1:] }

// checkHost refuses a host that can be no peer and no address to listen on.
func checkHost(e endpoint, want string) (wrong string) {
	switch a := e.addr; {
	case !a.IsValid():
		return checkName(e.host)
	case a.IsMulticast():
		return fmt.Sprintf("%s is a multicast group; want %s", a, want)
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Sprintf("%s is the broadcast address; want %s", a, want)
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return fmt.Sprintf(`%s is link-local and needs a zone; want such as "[%s%%eth0]:%d"`, a, a, e.port)
	case a.Zone() != "" && !a.IsLinkLocalUnicast():
		return fmt.Sprintf("%s has a zone; only link-local addresses have one", a)
	case strings.ContainsFunc(a.Zone(), notInZone):
		return fmt.Sprintf("the zone %q is no name of a network interface; want such as eth0", a.Zone())
	}
	return ""
}

// notInZone reports whether r is in no name of a network interface. Linux
// allows more, but nobody has it and each would have to be escaped somewhere.
func notInZone(r rune) bool {
	return !isNameRune(r) && r != '.' && r != ':' && r != '@' && r != '+'
}

func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// checkName checks a host name by RFC 1123, section 2.1. Underscores are
// allowed, for containers and Windows machines have them in their names.
func checkName(host string) (wrong string) {
	const want = "want a host name such as collector.example, or an IP address"
	name := strings.TrimSuffix(host, ".")
	if len(name) > 253 {
		return fmt.Sprintf("the host name has %d characters; want at most 253", len(name))
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return fmt.Sprintf("%q is no host name: there is nothing between two dots; %s", host, want)
		case len(label) > 63:
			return fmt.Sprintf("the part %q of the host name has %d characters; want at most 63", label, len(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Sprintf("%q is no host name: a hyphen stands at the edge of %q; %s", host, label, want)
		}
		for _, r := range label {
			if !isNameRune(r) {
				return fmt.Sprintf("%q is no host name: it has a %q; %s", host, r, want)
			}
		}
	}
	// A top-level domain is never a number (RFC 3696, section 2): this is an
	// IPv4 address with a slip.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fmt.Sprintf("%q is no IPv4 address; want four numbers from 0 to 255 such as 192.0.2.1", host)
	}
	return ""
}
