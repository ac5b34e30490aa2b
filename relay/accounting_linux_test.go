package relay

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// checkSums fails the test unless the two equations of [Stats] hold, for the
// relay and, of the second, for its peers together. Nobody may have left.
func checkSums(t testing.TB, r *Relay) {
	t.Helper()
	s := r.Stats()
	var in, out uint64
	for _, reason := range Drops() {
		switch {
		case reason.OnTheWayOut():
			out += s.Dropped[reason]
		case reason != DropReceiveQueueFull:
			in += s.Dropped[reason]
		}
	}
	if s.Received != s.KeepAlives+in+s.Relayed {
		t.Errorf("want received = keep-alives + %d drops on the way in + %d relayed; got %s", in, s.Relayed, show(s))
	}
	if s.Due != s.Delivered+out {
		t.Errorf("want %d due = delivered + %d drops on the way out; got %s", s.Due, out, show(s))
	}
	var sum PeerStats
	for _, p := range r.Peers().Peers() {
		of := r.PeerStats(p)
		sum.Delivered += of.Delivered
		sum.DeliveredBytes += of.DeliveredBytes
		for i := range sum.Dropped {
			sum.Dropped[i] += of.Dropped[i]
		}
	}
	if sum.Delivered != s.Delivered || sum.DeliveredBytes != s.DeliveredBytes {
		t.Errorf("want the peers to have got %d datagrams and %d bytes; got %d and %d", s.Delivered, s.DeliveredBytes, sum.Delivered, sum.DeliveredBytes)
	}
	for _, reason := range Drops() {
		if reason.OnTheWayOut() && sum.Dropped[reason] != s.Dropped[reason] {
			t.Errorf("want %d drops as %v among the peers; got %d", s.Dropped[reason], reason, sum.Dropped[reason])
		}
	}
}

// A bookkeeper lets a relay relay batches to a kernel that is none, and keeps
// books of its own: what came from each sender, and for whom each datagram was.
type bookkeeper struct {
	*Relay
	t      *testing.T
	kernel *fakeKernel
	now    time.Time
	sent   uint64 // datagrams
	from   map[netip.AddrPort]uint64
	due    map[netip.AddrPort]uint64
	n      int
}

func newBookkeeper(t *testing.T, w way, options Options) *bookkeeper {
	r := makeRelay(t, w, on4, options)
	k := &bookkeeper{Relay: r, t: t, kernel: newFakeKernel(t), now: time.Now(), from: map[netip.AddrPort]uint64{}, due: map[netip.AddrPort]uint64{}}
	k.use(r.receiving.sender.first)
	return k
}

// use makes out send to the kernel that is none.
func (k *bookkeeper) use(out sender) {
	s := out.(*trainSender)
	s.sendmmsg, s.waitWrite, s.queued = k.kernel.sendmmsg, func() {}, func() int { return 0 }
}

// hear relays a batch of what one sender said, as step does.
func (k *bookkeeper) hear(from netip.AddrPort, texts ...string) {
	k.t.Helper()
	b := heardTexts(from, texts...)
	k.sent += uint64(len(texts))
	k.from[from] += uint64(len(texts))
	k.admit(b, k.now, &k.receiving.tally)
	relayed := uint64(len(b.datagrams))
	receivers := k.table.Receivers()
	if err := k.relay(b, k.receiving.sender, nil, &k.receiving.tally); err != nil && !closed(err) {
		k.t.Fatal(err)
	}
	for _, p := range receivers {
		if p.Addr() != from {
			k.due[p.Addr()] += relayed
		}
	}
}

// says relays so many datagrams, none like another, of so many bytes.
func (k *bookkeeper) says(from netip.AddrPort, count, size int) {
	k.t.Helper()
	k.n += count
	k.hear(from, numberedTexts(k.n, count, size)...)
}

// overload has so many datagrams come at once, more than the backlog holds.
func (k *bookkeeper) overload(from netip.AddrPort, count int) {
	k.t.Helper()
	backlog := &k.receiving.backlog
	k.makeBacklog(1)
	for range count / maxBatch {
		k.n += maxBatch
		b := heardTexts(from, numberedTexts(k.n, maxBatch, 20)...)
		k.sent += maxBatch
		k.from[from] += maxBatch
		k.admit(b, k.now, &k.receiving.tally)
		k.overloaded(b)
	}
	for b := k.receiving.batch; backlog.waiting(); {
		backlog.next(b, k.since(k.now))
		for _, p := range k.table.Receivers() {
			if p.Addr() != from {
				k.due[p.Addr()] += uint64(len(b.datagrams))
			}
		}
		if err := k.relay(b, k.receiving.sender, nil, &k.receiving.tally); err != nil {
			k.t.Fatal(err)
		}
	}
}

// refuse has the kernel refuse everything to one peer.
func (k *bookkeeper) refuse(whom netip.AddrPort, errno unix.Errno) {
	k.kernel.refuse = func(m *wireMessage) unix.Errno {
		if m.to == whom {
			return errno
		}
		return 0
	}
}

// A slowMember has room for a few of each batch.
type slowMember struct {
	book   *bookkeeper
	place  *Attachment
	addr   netip.AddrPort
	room   int
	reason Drop // of the rest
}

func (m *slowMember) Name() string { return "slow" }
func (m *slowMember) Gone()        {}

func (m *slowMember) Deliver(batch []Datagram) {
	for _, d := range batch[:min(m.room, len(batch))] {
		m.book.kernel.got[m.addr] = append(m.book.kernel.got[m.addr], arrival{})
		m.place.Delivered(1, len(d.Payload))
	}
	m.place.Dropped(m.reason, max(0, len(batch)-m.room))
}

// TestEveryDatagramIsAccountedFor provokes every kind of drop and holds the
// counts against each other, against what the kernel got, and against books of
// its own, after each kind.
func TestEveryDatagramIsAccountedFor(t *testing.T) {
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) { everyKindOfDrop(t, w) })
	}
}

func everyKindOfDrop(t *testing.T, w way) {
	addr := netip.MustParseAddrPort
	options := defaults()
	options.ReceiveBuffer = 16 << 10
	options.Peers.Max, options.Peers.MaxPerAddress = 8, 5
	cookie := rule("203.0.113.0/24", peers.MayBoth)
	cookie.Join = peers.JoinCookie
	options.Peers.Access = []peers.Rule{
		rule("192.0.2.66", peers.MayNothing), rule("192.0.2.77", peers.MayReceive), rule("192.0.2.0/24", peers.MayBoth),
		rule("10.0.0.0/8", peers.MayBoth), rule("127.0.0.0/8", peers.MayBoth), cookie,
	}
	k := newBookkeeper(t, w, options)
	withRoom := k.options.Peers
	withRoom.Max = 0
	entrance := k.Entrance()
	var member *slowMember
	a, b, c, deaf := numbered(1), numbered(2), numbered(3), addr("192.0.2.77:1")
	static := addr("198.51.100.1:1")
	k.SetStatic([]netip.AddrPort{static})
	for _, from := range []netip.AddrPort{a, b, c, deaf} {
		k.hear(from, "")
	}
	with := func(change func(*Options)) {
		changed := options
		changed.Peers.Access = slices.Clone(options.Peers.Access)
		change(&changed)
		k.Apply(changed)
	}
	speaker := newClient(t, k.Addr())
	queued := uint64(0)
	var linkSent, linkDue uint64

	for _, step := range []struct {
		reason  Drop
		provoke func()
		atLeast uint64 // drops of the kind
	}{
		{DropRule, func() {
			k.says(addr("192.0.2.66:1"), 3, 20)
			k.says(addr("8.8.8.8:1"), 2, 20)
			k.hear(addr("192.0.2.66:1"), "")
		}, 6},
		{DropBanned, func() {
			k.table.Ban(netip.MustParsePrefix("10.9.0.0/16"), time.Time{}, "", k.now)
			k.table.Ban(netip.MustParsePrefix("198.51.100.1/32"), k.now.Add(time.Second), "", k.now)
			k.says(addr("10.9.0.1:1"), 3, 20)
			k.says(static, 2, 20)
			k.hear(static, "")
			k.says(a, 5, 20) // and it gets nothing
			k.now = k.now.Add(time.Second)
			k.table.ExpireBans(k.now)
			k.says(static, 2, 20)
		}, 6},
		{DropAddressFull, func() { k.hear(numbered(8), ""); k.hear(numbered(9), ""); k.says(numbered(10), 4, 20) }, 4},
		{DropTableFull, func() {
			k.hear(addr("10.0.0.1:1"), "x")
			k.hear(addr("10.0.0.2:1"), "x")
			k.hear(addr("10.0.0.3:1"), "x")
		}, 1},
		{DropNeverAPeer, func() {
			k.says(addr("192.0.2.1:0"), 2, 20)
			k.says(k.Addr(), 2, 20)
			k.says(addr("224.0.0.1:1"), 1, 20)
		}, 5},
		{DropMayNotSend, func() { k.says(deaf, 3, 20); k.hear(deaf, "") }, 3},
		{DropUnproven, func() { with(func(o *Options) { o.Peers.Max = 0 }); k.says(addr("203.0.113.1:1"), 3, 20) }, 3},
		{DropBadProof, func() { k.hear(addr("203.0.113.1:1"), "udprelay join 0123456789abcdef\n") }, 1},
		{DropJoinRate, func() {
			with(func(o *Options) { o.Peers.JoinsPerSecond, o.Peers.Max, o.Peers.MaxPerAddress = 1, 0, 0 })
			for port := range uint16(4) {
				k.hear(numbered(1000+port), "x", "y")
			}
			with(func(*Options) {})
		}, 6},
		{DropPeerRate, func() {
			with(func(o *Options) { o.Limits.PeerDatagrams = 10 })
			k.says(a, 40, 20)
			with(func(*Options) {})
		}, 30},
		{DropOverload, func() { k.overload(a, 4096) }, 4096 - 2048},
		{DropEgressLimit, func() {
			with(func(o *Options) { o.Limits.EgressBytes = 2000 })
			k.says(a, 40, 100)
			k.says(deaf, 1, 100)
			k.now = k.now.Add(time.Second / 2)
			k.says(static, 40, 100)
			with(func(*Options) {})
		}, 100},
		{DropQuarantined, func() {
			k.table.Lookup(b).Path.HoldUntil.Store((k.since(k.now) + int64(time.Second)) &^ onTrial)
			k.says(a, 5, 20)
			k.says(b, 5, 20)
			k.now = k.now.Add(time.Second)
			k.says(a, 5, 20) // the first tries b
			k.now = k.now.Add(2 * trialTime)
			k.says(a, 5, 20)
		}, 9},
		{DropTooBig, func() { k.refuse(b, unix.EMSGSIZE); k.says(a, 10, 1400); k.says(c, 2, 65_520) }, 14},
		{DropFiltered, func() { k.refuse(c, unix.EPERM); k.says(a, 10, 1400); k.says(c, 10, 1400) }, 10},
		{DropUnreachable, func() { k.refuse(c, unix.ENETUNREACH); k.says(a, 10, 1400) }, 10},
		{DropNoBuffer, func() { k.refuse(b, unix.EAGAIN); k.says(a, 10, 20); k.hear(a, numberedTexts(90_000, 5, 300)...) }, 15},
		{DropSendFailed, func() { k.refuse(b, unix.EPIPE); k.says(a, 10, 20) }, 10},
		{DropStorm, func() {
			k.refuse(b, 0)
			stormOf(k, b, c, a)
		}, 10},
		{DropWithheld, func() {}, 1}, // to find out whether it was a storm
		{DropReceiveQueueFull, func() {
			for range 500 { // while nobody receives
				speaker.send("a datagram of some bytes")
			}
			before := k.Stats()
			for k.Stats().Received == before.Received {
				if err := k.step(); err != nil {
					t.Fatal(err)
				}
			}
			queued = k.countKernelDrops()
			got := k.Stats().Received - before.Received
			k.sent += got
			k.from[speaker.addr] += got
			for _, p := range k.table.Receivers() {
				if p.Addr() != speaker.addr {
					k.due[p.Addr()] += k.Stats().Relayed - before.Relayed
				}
			}
		}, 1},
		{DropQueueFull, func() {
			k.table.SetOptions(withRoom)
			member = &slowMember{book: k, addr: addr("127.0.0.9:9"), room: 2, reason: DropQueueFull}
			member.place = entrance.Member(member)
			if verdict := member.place.Admit(member.addr, peers.TCP, peers.JoinOpen); verdict != peers.Joined {
				t.Fatalf("want the member to join; got %v", verdict)
			}
			k.says(a, 5, 20)
			k.due[member.addr] += 5
		}, 3},
		{DropDisconnected, func() {
			member.reason = DropDisconnected
			k.says(a, 4, 20)
			k.due[member.addr] += 4
			k.use(entrance.sender)
			bring(t, member.place, "by the member", "", "by it, too") // which does not get it
			linkSent = 3
			k.from[member.addr] = 3
			for _, p := range k.table.Receivers() {
				k.due[p.Addr()] += 2
			}
		}, 2},
		{DropStopped, func() {
			link := k.Attach(discard{})
			k.use(link.entrance.sender)
			bring(t, link, "by a link", "", "by a link, too")
			linkSent += 3
			linkDue = 2
			for _, p := range k.table.Receivers() {
				k.due[p.Addr()] += linkDue
			}
			k.due[member.addr] += linkDue
			k.socket.interrupt(time.Now().Add(-time.Second))
			k.says(a, 5, 20)
			k.due[member.addr] += 5
		}, 5},
	} {
		step.provoke()
		if t.Failed() {
			t.FailNow()
		}
		s := k.Stats()
		if s.Dropped[step.reason] < step.atLeast {
			t.Errorf("%v: want at least %d drops; got %s", step.reason, step.atLeast, show(s))
		}
		checkSums(t, k.Relay)
		if s.Received != k.sent+linkSent {
			t.Errorf("%v: want %d received; got %s", step.reason, k.sent+linkSent, show(s))
		}
		delivered := uint64(0)
		for _, p := range k.table.Peers() {
			of := k.PeerStats(p)
			got := uint64(len(k.kernel.got[p.Addr()]))
			delivered += got
			out := of.Delivered
			for _, reason := range Drops() {
				if reason.OnTheWayOut() {
					out += of.Dropped[reason]
				}
			}
			if of.Delivered != got || out != k.due[p.Addr()] || of.Received != k.from[p.Addr()] {
				t.Errorf("%v: want %v to have sent %d, been sent %d, and %d of them delivered; got %+v", step.reason, p.Addr(), k.from[p.Addr()], k.due[p.Addr()], got, of)
			}
		}
		if due := sum(k.due); s.Delivered != delivered || s.Due != due {
			t.Errorf("%v: want %d delivered of %d due; got %d of %d: %s", step.reason, delivered, due, s.Delivered, s.Due, show(s))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	for _, reason := range Drops() {
		if k.Stats().Dropped[reason] == 0 {
			t.Errorf("want every kind of drop to be met; got no %v", reason)
		}
	}
	t.Logf("relayed %d, due %d, in the queue of the kernel %d lost; %s", k.Stats().Relayed, k.Stats().Due, queued, show(k.Stats()))
}

func sum(of map[netip.AddrPort]uint64) (total uint64) {
	for n := range maps.Values(of) {
		total += n
	}
	return total
}

// stormOf lets a payload go round between two peers until both are cut, while a
// third speaks, and then some more.
func stormOf(k *bookkeeper, one, other, third netip.AddrPort) {
	k.t.Helper()
	loop := strings.Repeat("round and round ", 4)
	cut := func(p *peers.Peer) bool { return k.PeerState(p).State == StateCut }
	p, q := k.table.Lookup(one), k.table.Lookup(other)
	alive := true // the loop: what is withheld does not go round
	for n := 0; !cut(p) || !cut(q); n++ {
		if n > 20_000 {
			k.t.Fatal("want both to be cut; they are not")
		}
		k.now = k.now.Add(time.Millisecond)
		if alive {
			k.hear(one, loop)
			k.hear(other, loop)
			alive = k.Stats().Dropped[DropWithheld] == 0
			continue
		}
		k.says(third, 1, 20)
		k.socket.wake() // nothing waits in it
		if err := k.step(); err != nil {
			k.t.Fatal(err)
		}
	}
	for range 5 {
		k.hear(third, loop)
		k.hear(one, loop)
		k.hear(other, loop, fmt.Sprint("new ", k.n))
		k.says(third, 2, 20)
	}
}

// A batch that meets a closed socket is accounted for as well.
func TestWhatAClosedSocketCostsIsCounted(t *testing.T) {
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			k := newBookkeeper(t, w, defaults())
			for port := range uint16(20) {
				k.hear(numbered(101+port), "")
			}
			k.refuse(numbered(107), unix.EBADF)
			k.says(numbered(101), 5, 100)
			s := k.Stats()
			if s.Due != 5*19 || s.Delivered != 5*5 || s.Dropped[DropStopped] != 5*14 {
				t.Errorf("want 25 of 95 delivered and 70 dropped as stopped; got %d due, %s", s.Due, show(s))
			}
		})
	}
}
