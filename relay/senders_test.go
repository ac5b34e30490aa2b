package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/peers"
)

// sendOnly returns options by which the loopback addresses from 127.0.0.2 on may
// only send, and no more than listeners peers may join, of which one may join in
// a second, from 127.0.0.1.
func sendOnly(listeners int) Options {
	options := defaults()
	options.Peers.Access = []peers.Rule{rule("127.0.0.1", peers.MayBoth), rule("127.0.0.0/8", peers.MaySend)}
	options.Peers.Max, options.Peers.MaxPerAddress = listeners, listeners
	return options
}

// sendLines has hosts send count lines in turn to r, as logger does: each from a
// port of its own. The collectors have all of a part of them before the next is
// sent, so that no speed matters.
func sendLines(t *testing.T, r *Relay, hosts []string, count int, collectors ...*client) (from []netip.AddrPort) {
	t.Helper()
	const part = 50
	next := 1024 // the port of the host whose turn it is
	for i := range count {
		if i%len(hosts) == 0 {
			next++
		}
		var conn *net.UDPConn
		for err := error(nil); conn == nil; next++ { // past ports that others use
			if conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(hosts[i%len(hosts)]), Port: next}, net.UDPAddrFromAddrPort(r.Addr())); err == nil {
				break
			} else if next == 1<<16-1 {
				t.Fatalf("no port is left at %s: %v", hosts[i%len(hosts)], err)
			}
		}
		if _, err := fmt.Fprintf(conn, "<13>line %d", i); err != nil {
			t.Fatal(err)
		}
		from = append(from, conn.LocalAddr().(*net.UDPAddr).AddrPort())
		conn.Close()
		if (i+1)%part == 0 || i+1 == count {
			for line := i - i%part; line <= i; line++ {
				for _, c := range collectors {
					c.wants(fmt.Sprintf("<13>line %d", line))
				}
			}
		}
	}
	return from
}

// A fromLink keeps the senders of what it is handed.
type fromLink struct {
	mu   sync.Mutex
	from []netip.AddrPort
}

func (*fromLink) Name() string { return "from" }

func (l *fromLink) Deliver(batch []Datagram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range batch {
		l.from = append(l.from, d.From)
	}
}

func (l *fromLink) all() []netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.from)
}

// Two collectors that are static, and a program that sends a thousand lines.
func TestThousandLinesFromAsManyPortsArrive(t *testing.T) {
	needLoopback(t)
	eachWay(t, func(t *testing.T, w way) {
		options := sendOnly(1)
		options.Peers.JoinsPerSecond, options.Peers.JoinsPerSecondPerAddress = 1, 1
		r := startRelay(t, w, on4, options)
		collectors := []*client{newClient(t, near(r)), newClient(t, near(r))}
		r.SetStatic([]netip.AddrPort{collectors[0].addr, collectors[1].addr})
		link := new(fromLink)
		r.Attach(link)
		from := sendLines(t, r, []string{"127.0.0.2"}, 1000, collectors...)
		settle(t, r)
		checkNoDrops(t, r)
		if s := r.Stats(); s.Relayed != 1000 || s.Delivered != 2000 {
			t.Errorf("want 1000 relayed and 2000 delivered; got %s", show(s))
		}
		senders := r.Peers().Senders()
		if len(senders) != 1 || r.PeerStats(senders[0]).Received != 1000 {
			t.Fatalf("want one sender, of which 1000 datagrams came; got %d, %+v", len(senders), r.PeerStats(senders[0]))
		}
		if learned, static := r.Peers().Counts(); learned != 0 || static != 2 {
			t.Errorf("want the 2 static peers and no other; got %d and %d learned", static, learned)
		}
		await(t, func() bool { return len(link.all()) == 1000 }, func() string { return fmt.Sprintf("want 1000 handed to the link; got %d", len(link.all())) })
		if got := link.all(); !slices.Equal(got, from) {
			t.Errorf("want links to be told the real ports; got %v and so on, for %v", got[:3], from[:3])
		}
	})
}

// The rates are those of two busy networks: what counts is that each datagram
// comes from a new port, of several hosts.
func TestListenersKeepTheirPlacesBesideManySenders(t *testing.T) {
	needLoopback(t)
	for _, test := range []struct{ count, hosts int }{{14_000, 1}, {60_000, 4}} {
		t.Run(fmt.Sprint(test.count), func(t *testing.T) {
			r := startRelay(t, ways[0], on4, sendOnly(2))
			listeners := newPeers(t, r, near(r), 2)
			before := r.Peers().Peers()
			var hosts []string
			for i := range test.hosts {
				hosts = append(hosts, fmt.Sprintf("127.0.0.%d", 2+i))
			}
			taken := memoryInUse()
			from := sendLines(t, r, hosts, test.count, listeners...)
			if grown := memoryInUse() - taken - int64(len(from)*64); grown > 1<<20 {
				t.Errorf("want no more than 1 MiB for so many ports; got %d KiB", grown>>10)
			}
			distinct := map[netip.AddrPort]bool{}
			for _, addr := range from {
				distinct[addr] = true
			}
			if len(distinct) != test.count {
				t.Errorf("want each of %d datagrams from a port of its own; got %d", test.count, len(distinct))
			}
			checkNoDrops(t, r)
			if after := r.Peers().Peers(); !slices.Equal(after, before) || len(after) != 2 {
				t.Errorf("want the two listeners to keep their places; got %d peers", len(after))
			}
			if got := len(r.Peers().Senders()); got != test.hosts {
				t.Errorf("want %d senders, one for each address; got %d", test.hosts, got)
			}
		})
	}
}

// memoryInUse returns the bytes that are in use after everything dead is gone.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestNewPortDoesNotBypassTheLimitsOfASender(t *testing.T) {
	needLoopback(t)
	const count = 60
	for reason, limits := range map[string]Limits{"datagrams": {PeerDatagrams: 1}, "bytes": {PeerBytes: 10}} {
		t.Run(reason, func(t *testing.T) {
			options := sendOnly(1)
			options.Limits = limits
			r := startRelay(t, ways[0], on4, options)
			began := time.Now()
			sendLines(t, r, []string{"127.0.0.2"}, count)
			awaitStats(t, r, "all received", func(s Stats) bool { return s.Received == count })
			most := uint64(time.Since(began)/time.Second) + 2
			s := r.Stats()
			if s.Relayed > most || s.Relayed+s.Dropped[DropPeerRate] != count {
				t.Errorf("want at most %d of %d datagrams relayed, and the others dropped as peer_rate; got %s", most, count, show(s))
			}
			if got := r.PeerStats(r.Peers().Senders()[0]).Dropped[DropPeerRate]; got != s.Dropped[DropPeerRate] {
				t.Errorf("want the sender to count %d drops; got %d", s.Dropped[DropPeerRate], got)
			}
			sendLines(t, r, []string{"127.0.0.3"}, 1)
			awaitStats(t, r, "a datagram of another address relayed", func(now Stats) bool { return now.Relayed == s.Relayed+1 })
		})
	}
}

func TestLogNamesASenderByItsAddressAndSaysHowToBecomeOne(t *testing.T) {
	var text bytes.Buffer
	log := dropLog{counters: new(counters), log: slog.New(slog.NewTextHandler(&text, nil))}
	var stats Stats
	for reason, whom := range map[Drop]string{DropPeerRate: "192.0.2.1:0", DropNeverAPeer: "192.0.2.2:0", DropAddressFull: "192.0.2.3:4"} {
		stats.Dropped[reason] = 1
		log.counters.whom[reason] = netip.MustParseAddrPort(whom)
	}
	log.say(stats, time.Now(), false)
	for _, want := range []string{
		"reason=peer_rate count=1 total=1 sender=192.0.2.1 ", "reason=never_a_peer count=1 total=1 peer=192.0.2.2:0\n",
		`reason=address_full count=1 total=1 peer=192.0.2.3:4 hint="if these senders use a new port for each datagram, as logger and statsd clients do, ` +
			`write {from: THEIR ADDRESS, may: send} as the first rule of access: they then need no place; to take more peers of one address, raise peers.max_per_address"`,
	} {
		if got := text.String(); !strings.Contains(got, want) {
			t.Errorf("want\n%s\nin\n%s", want, got)
		}
	}
}
