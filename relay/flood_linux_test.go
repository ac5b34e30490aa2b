package relay

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
	"udprelay/peers"
)

// Spoofed addresses: a million of them from 11.0.0.0 on, which is reached by
// the other machine.
func manySources(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)}), 1024+uint16(n%60000))
}

// newFloodMachine returns a machine to which the way to all spoofed addresses
// leads, and which counts what comes for them.
func newFloodMachine(t *testing.T) *machine {
	t.Helper()
	other := newMachine(t)
	other.connect(t, 0)
	nettest.IP(t, "route add default via 10.77.0.11")
	other.Run(t, "nft add table ip test")
	other.Run(t, "nft add chain ip test in { type filter hook prerouting priority -300; }")
	other.Run(t, "nft add rule ip test in ip daddr 11.0.0.0/8 counter drop")
	return other
}

var nftCounter = regexp.MustCompile(`counter packets (\d+) bytes (\d+)`)

// strangersGot returns how many datagrams, of how many payload bytes, have come
// to the machine for spoofed addresses.
func (m *machine) strangersGot(t testing.TB) (count, payload int64) {
	t.Helper()
	output := m.Run(t, "nft list table ip test")
	match := nftCounter.FindStringSubmatch(output)
	if match == nil {
		t.Fatalf("want a counter; got %s", output)
	}
	count, _ = strconv.ParseInt(match[1], 10, 64)
	bytes, _ := strconv.ParseInt(match[2], 10, 64)
	return count, bytes - floodHeaders*count
}

// backlogDrops returns what the kernel has dropped between its devices and its
// sockets, of all namespaces, to explain a failure.
func backlogDrops() (total int64) {
	text, _ := os.ReadFile("/proc/net/softnet_stat")
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 {
			n, _ := strconv.ParseInt(words[1], 16, 64)
			total += n
		}
	}
	return total
}

// explain says, for a failure, what the kernel has dropped meanwhile: of r, and
// of all namespaces.
func explain(t testing.TB, r *Relay, backlogBefore int64) {
	t.Helper()
	if n := r.Stats().Dropped[DropReceiveQueueFull]; n > 0 {
		t.Errorf("want no datagrams dropped from the receive queue, for few are under way at a time; got %d", n)
	}
	if n := backlogDrops() - backlogBefore; n > 0 {
		t.Logf("the kernel has dropped %d datagrams of this machine, all namespaces, before they came to a socket", n)
	}
}

// liveRoom starts a relay and lets three peers of the other machine in.
func liveRoom(t *testing.T, w way, other *machine, options Options, roomy bool) (*Relay, []*client) {
	t.Helper()
	r := makeRelay(t, w, onAll4, options)
	if roomy {
		r.receiving.door.cookies, r.receiving.door.empties = peers.NewAddressRate(1<<20), peers.NewAddressRate(1<<20)
	}
	run(t, r)
	var clients []*client
	for n := range 3 {
		c := other.client(t, fmt.Sprintf("10.77.0.%d", 11+n), at(r, "10.77.0.1"))
		roomFor(t, c.conn, 8<<20)
		c.join(r)
		clients = append(clients, c)
	}
	awaitStats(t, r, "3 keep-alives", func(s Stats) bool { return s.KeepAlives == 3 })
	return r, clients
}

// A million addresses that are forged take no memory and no place, and live
// peers lose nothing meanwhile.
func TestFloodOfForgedSendersCostsThePeersNothing(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	other := newFloodMachine(t)
	eachWay(t, func(t *testing.T, w way) {
		count := 1_000_000
		if raceEnabled || testing.Short() || w.name != ways[0].name {
			count /= 20
		}
		backlog := backlogDrops()
		options := guarded(peers.JoinCookie)
		options.Peers.Access = append([]peers.Rule{rule("10.77.0.8/29", peers.MayBoth)}, options.Peers.Access...)
		r, clients := liveRoom(t, w, other, options, false)
		f := newFlooder(t, other, at(r, "10.77.0.1"), manySources)
		before, stats := heapInUse(), r.Stats()
		gotBefore, gotBytesBefore := other.strangersGot(t)
		talk := startTalk(t, 3*time.Millisecond, clients...)
		began := time.Now()
		if err := f.flood(r, count, &talk.sent); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		talk.end()
		awaitStats(t, r, "all received", func(Stats) bool { return seen(r) >= int64(stats.Received)+int64(count)+talk.sent.Load() })
		grown := heapInUse() - before
		s := r.Stats()
		got, gotBytes := other.strangersGot(t)
		got, gotBytes = got-gotBefore, gotBytes-gotBytesBefore
		t.Logf("%d forged senders in %v (%.0f a second), %d live datagrams; %d answers (%d bytes), %d (%d bytes) came to the other machine; the heap has grown by %d bytes; %s",
			count, took.Round(time.Millisecond), float64(count)/took.Seconds(), talk.sent.Load(), s.Answers, s.AnswerBytes, got, gotBytes, grown, show(s))

		if peers := r.Peers().Peers(); len(peers) != len(clients) {
			t.Errorf("want the %d live peers and nobody else; got %d", len(clients), len(peers))
		}
		if grown > 1<<20 {
			t.Errorf("want no memory taken by forged senders; the heap has grown by %d bytes", grown)
		}
		most := int64(3 * count * floodLength)
		if int64(s.AnswerBytes) > most || gotBytes > most || got > int64(s.Answers) || s.Answers == 0 || gotBytes > int64(s.AnswerBytes) {
			t.Errorf("want at most %d bytes to strangers, all counted; got %d counted, %d at the other machine", most, s.AnswerBytes, gotBytes)
		}
		perSecond := int64(4096 * answersPerSecond) // all buckets there are
		if most := perSecond * (int64(took/time.Second) + 2) * 6 / 5; int64(s.Answers) > most {
			t.Errorf("want at most %d answers in %v; got %d", most, took, s.Answers)
		}
		explain(t, r, backlog)
		if s.Dropped[DropUnproven] != uint64(count) || sumDrops(s) != uint64(count) {
			t.Errorf("want %d dropped as unproven and nothing else; got %s", count, show(s))
		}
		if want := uint64(talk.sent.Load()) * uint64(len(clients)-1); s.Delivered != want {
			t.Errorf("want %d delivered; got %s", want, show(s))
		}
	})
}

// Where anyone may join, a flood fills the table. Who is inside stays and loses
// nothing.
func TestFloodOfForgedSendersThatMayJoinFillsTheTableAndNoMore(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	other := newFloodMachine(t)
	eachWay(t, func(t *testing.T, w way) {
		count := 100_000
		if raceEnabled || testing.Short() {
			count /= 5
		}
		backlog := backlogDrops()
		const places = 20
		options := defaults()
		options.Peers.Max = places
		r, clients := liveRoom(t, w, other, options, false)
		f := newFlooder(t, other, at(r, "10.77.0.1"), manySources)
		before, stats := heapInUse(), r.Stats()
		talk := startTalk(t, 3*time.Millisecond, clients...)
		if err := f.flood(r, count, &talk.sent); err != nil {
			t.Error(err)
		}
		talk.end()
		awaitStats(t, r, "all received", func(Stats) bool { return seen(r) >= int64(stats.Received)+int64(count)+talk.sent.Load() })
		grown := heapInUse() - before
		s := r.Stats()
		t.Logf("%d live datagrams, heap grown by %d bytes; %s", talk.sent.Load(), grown, show(s))
		if learned, _ := r.Peers().Counts(); learned != places {
			t.Errorf("want %d peers; got %d", places, learned)
		}
		for _, c := range clients {
			if r.Peers().Lookup(c.addr) == nil {
				t.Errorf("want live peer %v to stay; it is gone", c.addr)
			}
		}
		if grown > 1<<20 {
			t.Errorf("want no memory taken by those that find no place; the heap has grown by %d bytes", grown)
		}
		explain(t, r, backlog)
		joined := places - len(clients)
		if s.Dropped[DropTableFull] != uint64(count-joined) || sumDrops(s) != s.Dropped[DropTableFull] || s.Answers != 0 {
			t.Errorf("want %d dropped as table_full, nothing else, and no answers; got %d answers, %s", count-joined, s.Answers, show(s))
		}
		if got := talk.foreign.Load(); got > int64(joined*len(clients)) {
			t.Errorf("want what the first %d forged senders say at the live peers; got %d datagrams", joined, got)
		}
	})
}

// Forged senders on the local network, where nobody has their addresses: the
// answers wait for ARP, and must not take the send buffer from the peers.
func TestAnswersThatWaitForARPCostThePeersNothing(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	other := newFloodMachine(t)
	const hosts = 180 // the kernel's table of neighbours is one for all namespaces
	onLink := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(60 + n%hosts)}), 1024+uint16(n/hosts%60000))
	}
	options := guarded(peers.JoinCookie)
	options.Peers.Access = append([]peers.Rule{rule("10.77.0.8/29", peers.MayBoth)}, options.Peers.Access...)
	type room struct {
		relay  *Relay
		flood  *flooder
		talk   *liveTalk
		buffer int
	}
	var rooms []room
	backlog := backlogDrops()
	for _, buffer := range []int{1 << 20, 208 << 10} {
		options.SendBuffer = buffer
		r, clients := liveRoom(t, ways[0], other, options, true)
		rooms = append(rooms, room{r, newFlooder(t, other, at(r, "10.77.0.1"), onLink), startTalk(t, 6*time.Millisecond, clients...), buffer})
	}
	// Longer than the kernel looks for a neighbour, and until there was no room.
	noRoom := func() bool {
		return !slices.ContainsFunc(rooms, func(r room) bool {
			s := r.relay.Stats()
			return s.Dropped[DropUnproven] < s.Answers+4*maxBatch
		})
	}
	for began := time.Now(); (time.Since(began) < 4*time.Second || !noRoom() && time.Since(began) < patience) && !t.Failed(); time.Sleep(time.Millisecond) {
		for _, room := range rooms {
			if err := room.flood.flood(room.relay, maxBatch, &room.talk.sent); err != nil {
				t.Error(err)
			}
		}
	}
	for _, room := range rooms {
		room.talk.end()
		r := room.relay
		awaitStats(t, r, "all received", func(Stats) bool { return seen(r) >= 3+int64(room.flood.sent)+room.talk.sent.Load() })
		s := r.Stats()
		t.Logf("send buffer of %d bytes: %d forged senders, %d live datagrams, %d answers, %d stray errors; %s",
			room.buffer, room.flood.sent, room.talk.sent.Load(), s.Answers, s.StrayErrors, show(s))
		explain(t, r, backlog)
		if s.Answers == 0 || s.Answers == uint64(room.flood.sent) {
			t.Errorf("want some answers to %d forged senders, and none where there was no room; got %d", room.flood.sent, s.Answers)
		}
		if len(r.Peers().Peers()) != 3 {
			t.Errorf("want 3 peers; got %d", len(r.Peers().Peers()))
		}
		if sumDrops(s) != s.Dropped[DropUnproven] {
			t.Errorf("want nothing dropped but unproven; got %s", show(s))
		}
	}
}
