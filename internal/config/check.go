package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"udprelay/peers"
)

// checkStatic refuses static peers that are there twice, that the socket
// cannot reach, or that are the relay itself.
func (l *loader) checkStatic() {
	if l.mistaken("listen") {
		l.listen = endpoint{} // whatever it is now, it is not what was meant
	}
	firsts := map[string]origin{}
	for i, peer := range l.static {
		if peer.addr.port == 0 || l.full() {
			continue
		}
		key := fmt.Sprintf("peers.static[%d].address", i)
		if first, again := firsts[peer.addr.identity()]; again {
			l.fail(peer.at, key, fmt.Sprintf("%q is already in the list, at %s; want it once", l.config.Peers.Static[i].Address, first))
			continue
		}
		firsts[peer.addr.identity()] = peer.at
		if wrong := unreachable(l.listen, peer.addr, l.config.Listen); wrong != "" {
			l.fail(peer.at, key, wrong)
		}
	}
}

// identity is the same for two endpoints that are one.
func (e endpoint) identity() string {
	host := strings.ToLower(strings.TrimSuffix(e.host, "."))
	if e.addr.IsValid() {
		host = e.addr.String()
	}
	return fmt.Sprintf("%s %d", host, e.port)
}

// unreachable says why a socket that listens on listen cannot have peer as a
// peer. Host names stay unjudged, for nobody looks them up here.
func unreachable(listen, peer endpoint, written string) (wrong string) {
	here, there := listen.addr, peer.addr
	if listen == (endpoint{}) || !there.IsValid() {
		return ""
	}
	switch {
	case here.IsValid() && here.Is4() && there.Is6():
		return fmt.Sprintf(`%s is IPv6, but listen is %q, which is IPv4 only; want a listen such as ":%d"`, there, written, listen.port)
	case here.IsValid() && here.Is6() && !here.IsUnspecified() && there.Is4():
		return fmt.Sprintf(`%s is IPv4, but listen is %q, which is IPv6 only; want a listen such as ":%d"`, there, written, listen.port)
	case peer.port != listen.port:
		return ""
	case here == there, there.IsLoopback() && (listen.host == "" || here.IsValid() && here.IsUnspecified()):
		return "is where the relay itself listens; want the address of a peer"
	}
	return ""
}

// checkCoalesce warns of a wait for trains that there are not.
func (l *loader) checkCoalesce() {
	const key = "socket.coalesce"
	if l.config.Socket.Coalesce > 0 && l.config.Socket.Trains == TrainsOff {
		l.warn(l.set[key], key, fmt.Sprintf("each datagram waits up to %s so that trains grow, and there are none: socket.trains is off; want trains: auto, or coalesce: 0",
			formatDuration(l.config.Socket.Coalesce)))
	}
}

// checkGroup warns of a group that has nothing to ask at.
func (l *loader) checkGroup() {
	const key = "admin.group"
	if group := l.config.Admin.Group; group != "" && group != None && l.config.Admin.Socket == None {
		l.warn(l.set[key], key, "there is no control socket that the group may ask at: admin.socket is none; want a socket, or no group")
	}
}

// checkHTTP warns of an address that others than this machine can reach. Host
// names stay unjudged, for nobody looks them up here.
func (l *loader) checkHTTP() {
	const key = "admin.http"
	addr := l.http.addr
	if !addr.IsValid() || addr.IsLoopback() {
		return
	}
	where := l.config.Admin.HTTP
	if addr.IsUnspecified() {
		where = "this machine"
	}
	l.warn(l.set[key], key, fmt.Sprintf("everybody who reaches %s may read who the peers are, and change nothing; want a loopback address such as 127.0.0.1:%d if that is not meant",
		where, l.http.port))
}

// checkAccess warns of rules that do not do what somebody may hope.
func (l *loader) checkAccess() {
	rules := l.config.Access
	if len(rules) == 0 {
		l.warn(l.accessAt, "access", "the list is empty, so nobody may join; only static peers take part")
	}
	for i := range rules {
		by := l.hiddenBy(i)
		if len(by) == 0 {
			continue
		}
		var earlier []string
		for _, j := range by {
			earlier = append(earlier, fmt.Sprintf("access[%d] at %s", j, l.rules[j]))
		}
		verb := "comes first and covers"
		if len(by) > 1 {
			verb = "come first and cover"
		}
		l.warn(l.rules[i], fmt.Sprintf("access[%d]", i), fmt.Sprintf("the rule for %s never decides: %s %s all of it",
			rules[i].From, strings.Join(earlier, " and "), verb))
	}
}

// hiddenBy returns the rules before rule i that together cover all of it, each
// of its prefixes by one of them; none if some of it is left to rule i.
func (l *loader) hiddenBy(i int) (by []int) {
	rules := l.config.Access
	for _, prefix := range rules[i].Cover {
		j := slices.IndexFunc(rules[:i], func(r peers.Rule) bool { return covers(r.Cover, prefix) })
		if j < 0 {
			return nil
		}
		if !slices.Contains(by, j) {
			by = append(by, j)
		}
	}
	return by
}

func covers(outer []netip.Prefix, inner netip.Prefix) bool {
	return slices.ContainsFunc(outer, func(p netip.Prefix) bool {
		return p.Bits() <= inner.Bits() && p.Contains(inner.Addr())
	})
}
