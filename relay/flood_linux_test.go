package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
	"udprelay/peers"
)

// floodText begins what a flood says; a number of eight digits follows, for no
// two datagrams to be alike. It is long enough to be answered with a cookie.
const (
	floodText   = "flood "
	floodLength = len(floodText) + 8
)

// floodWindow is how many datagrams of a flood may be under way: with their
// answers they fit the kernel's queue between sending and receiving
// (net.core.netdev_max_backlog, by default 1,000).
const floodWindow = 256

// floodHeaders is what comes before the payload: IPv4 and UDP.
const floodHeaders = 20 + 8

// A flooder sends datagrams that say they come from many addresses, by a raw
// socket of another machine.
type flooder struct {
	t       testing.TB
	fd      int
	to      unix.RawSockaddrInet4
	packets [maxBatch][floodHeaders + floodLength]byte
	vectors [maxBatch]unix.Iovec
	headers [maxBatch]mmsghdr
	source  func(n int) netip.AddrPort // of datagram n
	sent    int
}

func newFlooder(t testing.TB, m *machine, to netip.AddrPort, source func(n int) netip.AddrPort) *flooder {
	t.Helper()
	f := &flooder{t: t, source: source}
	var err error
	m.do(func() { f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW) })
	if err != nil {
		t.Fatalf("open a raw socket: %v", err)
	}
	t.Cleanup(func() { unix.Close(f.fd) })
	f.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	for i := range f.packets {
		p := f.packets[i][:]
		p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel fills in the rest
		copy(p[16:], f.to.Addr[:])
		binary.BigEndian.PutUint16(p[22:], to.Port())
		binary.BigEndian.PutUint16(p[24:], uint16(8+floodLength)) // without a checksum (RFC 768)
		copy(p[floodHeaders:], floodText)
		f.vectors[i].Base = &p[0]
		f.vectors[i].SetLen(len(p))
		h := &f.headers[i].header
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&f.to)), unix.SizeofSockaddrInet4
		h.Iov = &f.vectors[i]
		h.SetIovlen(1)
	}
	return f
}

// burst sends the next count datagrams, at most maxBatch.
func (f *flooder) burst(count int) error {
	for i := range count {
		from, p := f.source(f.sent+i), f.packets[i][:]
		addr := from.Addr().As4()
		copy(p[12:], addr[:])
		binary.BigEndian.PutUint16(p[20:], from.Port())
		for k, left := len(p)-1, f.sent+i; k >= floodHeaders+len(floodText); k-- {
			p[k] = byte('0' + left%10)
			left /= 10
		}
	}
	for done := 0; done < count; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&f.headers[done])), uintptr(count-done), 0, 0, 0)
		switch errno {
		case 0:
			done += int(n)
		case unix.EINTR:
		default:
			return fmt.Errorf("flood: %w", errno)
		}
	}
	f.sent += count
	return nil
}

// flood sends count datagrams to r, as fast as it takes them: never are more
// than floodWindow under way, so that no queue of the kernel fills however slow
// the machine is. Others may send, too, and count into beside what they send.
func (f *flooder) flood(r *Relay, count int, beside *atomic.Int64) error {
	first, end := f.sent, f.sent+count
	before, besideBefore := seen(r), beside.Load()
	for most, since := first, time.Now(); f.sent < end; {
		arrived := first + int(seen(r)-before-(beside.Load()-besideBefore)) // at least
		if arrived > most {
			most, since = arrived, time.Now()
		}
		if f.sent-arrived+maxBatch > floodWindow {
			if time.Since(since) > patience {
				return fmt.Errorf("the flood has stopped at %d of %d: want all of it received or counted as dropped; got %d", f.sent, end, arrived)
			}
			time.Sleep(20 * time.Microsecond)
			continue
		}
		if err := f.burst(min(maxBatch, end-f.sent)); err != nil {
			return err
		}
	}
	return nil
}

// seen returns how many datagrams have come to r, also if the kernel dropped
// them.
func seen(r *Relay) int64 {
	s := r.Stats()
	return int64(s.Received + s.Dropped[DropReceiveQueueFull])
}

// A talk among live peers, who all speak in turn and hear all others.
type liveTalk struct {
	t       testing.TB
	clients []*client
	sent    atomic.Int64 // datagrams by all
	each    atomic.Int64 // by each, when it is over
	over    chan struct{}
	all     sync.WaitGroup
	foreign atomic.Int64 // datagrams of others that they got
}

// startTalk has each client say something in each interval until end is
// called.
func startTalk(t testing.TB, interval time.Duration, clients ...*client) *liveTalk {
	l := &liveTalk{t: t, clients: clients, over: make(chan struct{})}
	l.each.Store(-1)
	for i := range clients {
		l.all.Go(func() { l.hear(i) })
	}
	l.all.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for n := int64(0); ; n++ {
			select {
			case <-l.over:
				l.each.Store(n)
				return
			case <-ticker.C:
			}
			l.sent.Add(int64(len(clients))) // before, so that no more have arrived than were sent
			for i, c := range clients {
				if _, err := c.conn.Write(fmt.Appendf(nil, "live %d %d", i, n)); err != nil {
					t.Errorf("live peer %d: %v", i, err)
				}
			}
		}
	})
	return l
}

// hear fails the test unless client i gets all that the others say, in order.
func (l *liveTalk) hear(i int) {
	c, next := l.clients[i], make([]int64, len(l.clients))
	buffer := make([]byte, maxDatagram)
	complete := func() bool {
		each := l.each.Load()
		for k, n := range next {
			if k != i && n != each {
				return false
			}
		}
		return true
	}
	for waited := time.Now(); !complete(); {
		c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.conn.Read(buffer)
		if err != nil {
			if time.Since(waited) > 5*time.Second {
				l.t.Errorf("want all that the %d live peers say, %d each, at live peer %d; got %d, and then %v", len(l.clients), l.each.Load(), i, next, err)
				return
			}
			continue
		}
		waited = time.Now()
		var from int
		var number int64
		if _, err := fmt.Sscanf(string(buffer[:n]), "live %d %d", &from, &number); err != nil {
			l.foreign.Add(1)
			continue
		}
		if from == i || number != next[from] {
			l.t.Errorf("want datagram %d of live peer %d at live peer %d; got %d", next[from], from, i, number)
			if number < next[from] {
				return
			}
		}
		next[from] = number + 1
	}
}

// end ends the talk when all is heard.
func (l *liveTalk) end() {
	close(l.over)
	l.all.Wait()
}

// heapInUse returns how many bytes are in use for good.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

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
	ip(t, "route add default via 10.77.0.11")
	other.do(func() {
		for _, line := range []string{"nft add table ip test", "nft add chain ip test in { type filter hook prerouting priority -300; }",
			"nft add rule ip test in ip daddr 11.0.0.0/8 counter drop"} {
			words := strings.Fields(line)
			if output, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", line, err, output)
			}
		}
	})
	return other
}

var nftCounter = regexp.MustCompile(`counter packets (\d+) bytes (\d+)`)

// strangersGot returns how many datagrams, of how many payload bytes, have come
// to the machine for spoofed addresses.
func (m *machine) strangersGot(t testing.TB) (count, payload int64) {
	t.Helper()
	var output []byte
	var err error
	m.do(func() { output, err = exec.Command("nft", "list", "table", "ip", "test").CombinedOutput() })
	match := nftCounter.FindSubmatch(output)
	if err != nil || match == nil {
		t.Fatalf("read the counter of nft: %v: %s", err, output)
	}
	count, _ = strconv.ParseInt(string(match[1]), 10, 64)
	bytes, _ := strconv.ParseInt(string(match[2]), 10, 64)
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
	if !inNamespace(t) {
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
	if !inNamespace(t) {
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
	if !inNamespace(t) {
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
	for _, buffer := range []int{8 << 20, 208 << 10} {
		options.SendBuffer = buffer
		r, clients := liveRoom(t, ways[0], other, options, true)
		rooms = append(rooms, room{r, newFlooder(t, other, at(r, "10.77.0.1"), onLink), startTalk(t, 6*time.Millisecond, clients...), buffer})
	}
	// Longer than the kernel looks for a neighbour.
	for began := time.Now(); time.Since(began) < 4*time.Second && !t.Failed(); time.Sleep(time.Millisecond) {
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
