package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
)

// A candidate is a relay to be measured.
type candidate struct {
	name  string
	about string // what it is, as Markdown

	// foreign ones may fail; they are left out then.
	foreign bool

	// static ones know their receivers from the command line, most of them at
	// most; 0: any number.
	static bool
	most   int

	command func(port uint16, receivers []netip.AddrPort) []string
}

// Programs are what the candidates run. An empty one is not there.
type programs struct {
	udprelay, plainloop, limitrelay string // built from the tree
	samplicator, gstreamer, socat   string
	senders                         bool // udprelay has a flag --senders
}

// foreignPrograms returns what is on the machine.
func foreignPrograms() (p programs) {
	find := func(names ...string) string {
		for _, name := range names {
			if path, err := exec.LookPath(name); name != "" && err == nil {
				return path
			}
		}
		return ""
	}
	p.samplicator = find(os.Getenv("SAMPLICATOR"), "samplicate")
	p.gstreamer = find("gst-launch-1.0")
	p.socat = find("socat")
	return p
}

// The relays that others are compared with.
const (
	ours      = "udprelay"
	limitGSO  = "limit-gso"
	limitMMsg = "limit-mmsg"
	plainWay  = "recvfrom-sendto"
)

// candidates returns the relays, ours first.
func candidates(p programs) []candidate {
	serve := func(flags ...string) func(uint16, []netip.AddrPort) []string {
		return func(port uint16, _ []netip.AddrPort) []string {
			return append(serveCommand(p.udprelay, port), flags...)
		}
	}
	limit := func(mode, batch string) func(uint16, []netip.AddrPort) []string {
		return func(port uint16, _ []netip.AddrPort) []string {
			return []string{p.limitrelay, fmt.Sprint(port), mode, batch}
		}
	}
	const limitFile = "[limitrelay.c](../internal/compare/limitrelay/limitrelay.c)"
	list := []candidate{
		{name: ours, about: "with the default configuration, without limits of joining", command: serve()},
		{name: "trains-off", about: "udprelay with `socket.trains: off`", command: serve("--trains", "off")},
	}
	if p.senders {
		list = append(list, candidate{name: "senders-2", about: "udprelay with `socket.senders: 2`, on one processor as all", command: serve("--senders", "2")})
	}
	list = append(list,
		candidate{name: limitGSO, about: limitFile + " with trains of up to 64 datagrams, the least that a C program can do: it checks nothing and forgets nobody", command: limit("gso", "64")},
		candidate{name: limitMMsg, about: limitFile + " with one `sendmmsg` for each datagram", command: limit("mmsg", "64")},
		candidate{name: plainWay, about: limitFile + " as samplicator does it: a `recvfrom` that blocks, then a `sendto` for each peer", command: limit("plain", "1")},
		candidate{name: "plainloop", about: "[the loop of ReadFromUDP and WriteToUDP](../internal/plainloop/plainloop.go) that one writes in five minutes", command: func(port uint16, _ []netip.AddrPort) []string {
			return []string{p.plainloop, fmt.Sprint(port)}
		}},
	)
	if p.samplicator != "" {
		list = append(list, candidate{name: "samplicator", about: "[samplicator](https://github.com/sleinen/samplicator), receivers on the command line, with a socket buffer of 208 KiB, the system's default, instead of its 64 KiB", foreign: true, static: true, command: func(port uint16, receivers []netip.AddrPort) []string {
			return append([]string{p.samplicator, "-4", "-b", "212992", "-s", "127.0.0.1", "-p", fmt.Sprint(port)}, join(receivers, "/")...)
		}})
	}
	if p.gstreamer != "" {
		list = append(list, candidate{name: "gstreamer", about: "`gst-launch-1.0 udpsrc ! multiudpsink`, receivers on the command line", foreign: true, static: true, command: func(port uint16, receivers []netip.AddrPort) []string {
			return []string{p.gstreamer, "-q", "udpsrc", "address=127.0.0.1", fmt.Sprintf("port=%d", port),
				"!", "multiudpsink", "sync=false", "async=false", "clients=" + strings.Join(join(receivers, ":"), ",")}
		}})
	}
	if p.socat != "" {
		list = append(list, candidate{name: "socat", about: "`socat -u UDP4-RECV UDP4-SENDTO`, which has one receiver and no more", foreign: true, static: true, most: 1, command: func(port uint16, receivers []netip.AddrPort) []string {
			return []string{p.socat, "-u", fmt.Sprintf("UDP4-RECV:%d,bind=127.0.0.1", port), "UDP4-SENDTO:" + receivers[0].String()}
		}})
	}
	return list
}

// serveCommand returns the command line of udprelay at a port. It has no limits
// of joining, as all peers are on this machine.
func serveCommand(program string, port uint16) []string {
	return []string{program, "serve", "--listen", fmt.Sprintf(":%d", port), "--max-peers", "0", "--expiry", "2h",
		"--admin-socket", "none", "--admin-http", "none", "--state-file", "none", "--log-level", "error"}
}

// join returns each address with a separator of its own before the port.
func join(addrs []netip.AddrPort, separator string) (list []string) {
	for _, a := range addrs {
		list = append(list, fmt.Sprintf("%s%s%d", a.Addr(), separator, a.Port()))
	}
	return list
}

// noLimits lets all peers join from few addresses, at once.
var noLimits = []string{"UDPRELAY_PEERS_MAX_PER_ADDRESS=0", "UDPRELAY_PEERS_JOINS_PER_SECOND=0", "UDPRELAY_PEERS_JOINS_PER_SECOND_PER_ADDRESS=0"}

// environ returns the environment of the relays: without limits for udprelay, and
// without what configures another one.
func environ() (kept []string) {
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "UDPRELAY_") && !strings.HasPrefix(variable, "NOTIFY_SOCKET=") {
			kept = append(kept, variable)
		}
	}
	return append(kept, noLimits...)
}

// choose returns those of list that are named, in the order of list; all if none
// is named.
func choose[T any](list []T, name func(T) string, named []string, what string) ([]T, error) {
	if len(named) == 0 {
		return list, nil
	}
	wanted := map[string]bool{}
	for _, n := range named {
		wanted[n] = true
	}
	var chosen []T
	var names []string
	for _, item := range list {
		names = append(names, name(item))
		if wanted[name(item)] {
			chosen = append(chosen, item)
			delete(wanted, name(item))
		}
	}
	for _, n := range named {
		if wanted[n] {
			return nil, fmt.Errorf("no %s %q here; there are %s", what, n, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}
