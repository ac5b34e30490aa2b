package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"udprelay/internal/fairqueue"
	"udprelay/internal/nettest"
	"udprelay/peers"
)

// floodTo is the variable of the environment that makes a process of this test
// flood a relay.
const floodTo = "UDPRELAY_TEST_FLOOD"

// TestFloodProcess is no test: it is what startFlood starts. It sends until it is
// killed.
func TestFloodProcess(t *testing.T) {
	to := os.Getenv(floodTo)
	if to == "" {
		return
	}
	conn, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte{'f'}, 200)
	binary.BigEndian.PutUint32(payload[4:], uint32(os.Getpid())) // no other flood sends the same
	for n := uint64(0); ; n++ {
		binary.BigEndian.PutUint64(payload[8:], n)
		conn.Write(payload) // the relay may not be there any more
	}
}

// startFlood starts a process that sends all it can until pause is called. Its
// socket stays open until the test ends.
func startFlood(t testing.TB, to netip.AddrPort) (pause func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFloodProcess$")
	cmd.Env = append(os.Environ(), floodTo+"="+to.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a flood: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return func() { cmd.Process.Signal(syscall.SIGSTOP) }
}

// onlyHonest makes the socket of c take nothing but payloads that begin with an H,
// so that a flood costs the receiver nothing, and never fills its receive buffer.
func onlyHonest(c *client) {
	c.t.Helper()
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 8}, // after the UDP header
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 'H', Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	attachTo(c.t, c.conn, program)
}

func attachTo(t testing.TB, conn *net.UDPConn, program []unix.SockFilter) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
	if err != nil {
		t.Fatalf("attach a filter: %v", err)
	}
}

// waiting returns a datagram that has come, if there is one.
func (c *client) waiting() (text string, ok bool) {
	c.t.Helper()
	raw, err := c.conn.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		buffer := make([]byte, 100)
		if n, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT); err == nil {
			text, ok = string(buffer[:n]), true
		}
	})
	return text, ok
}

// atRest reports whether all that r has received is relayed or counted.
func atRest(s Stats) bool {
	in, out := s.KeepAlives+s.Relayed, s.Delivered
	for _, reason := range Drops() {
		if reason.OnTheWayOut() {
			out += s.Dropped[reason]
		} else if reason != DropReceiveQueueFull {
			in += s.Dropped[reason]
		}
	}
	return in == s.Received && out == s.Due
}

// hasFilter reports whether the socket has a filter.
func hasFilter(t testing.TB, fd int) bool {
	t.Helper()
	length := uint32(0) // in instructions: SO_GET_FILTER tells how many there are
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_GET_FILTER, 0, uintptr(unsafe.Pointer(&length)), 0); errno != 0 {
		t.Fatalf("ask for the filter of a socket: %v", errno)
	}
	return length > 0
}

// One peer that sends all it can, and likewise five, cost honest peers next to
// nothing, and get what is left. What is over their share is counted for them.
func TestFloodersCostOthersNothing(t *testing.T) {
	for _, test := range []struct {
		w        way
		flooders int
	}{{ways[0], 1}, {ways[0], 5}, {ways[1], 1}, {ways[3], 5}} {
		t.Run(fmt.Sprintf("%s/%d", test.w.name, test.flooders), func(t *testing.T) {
			// On a machine that stands still meanwhile, the receive queue overflows.
			const most = 10
			for try := 1; !floodRoom(t, test.w, test.flooders); try++ {
				if try == most {
					t.Fatalf("want at least 99 %% of the honest datagrams; got less, %d times", most)
				}
			}
		})
	}
}

// floodRoom reports whether the honest got at least 99 %, unless the receive queue
// has overflowed: then all that got through it.
func floodRoom(t *testing.T, w way, flooders int) (ok bool) {
	const (
		honest = 10
		rate   = 50 // per second
	)
	count := 100
	if testing.Short() || raceEnabled || w.name != ways[0].name {
		count = 30
	}
	conn := listen(t, on4)
	keep := dupOf(t, conn)
	r, err := w.make(conn, defaults())
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, r)
	r.SetStatic(addrsOf(newSinks(t, "127.0.0.1", 100))) // so that sending is what takes the time
	clients := newPeers(t, r, near(r), honest)
	for _, c := range clients {
		roomFor(t, c.conn, 8<<20)
		onlyHonest(c)
	}
	var pauses []func()
	for range flooders {
		pauses = append(pauses, startFlood(t, near(r)))
	}
	flooding := func() (list []*peers.Peer) {
		for _, p := range r.Peers().Peers() {
			if r.PeerStats(p).Dropped[DropOverload] > 0 {
				list = append(list, p)
			}
		}
		return list
	}
	await(t, func() bool {
		b := r.Buffers()
		return len(flooding()) == flooders && hasFilter(t, keep) && b.ReceiveUsed < b.Receive/4
	}, func() string {
		return fmt.Sprintf("want %d flooders over their share, and limited; got %d, %s", flooders, len(flooding()), show(r.Stats()))
	})

	before := r.Stats()
	for n := range count {
		for i, c := range clients {
			c.send(fmt.Sprintf("H %d %d", i, n))
			time.Sleep(time.Second / rate / honest)
			// An honest rate, whatever the machine: others get more than twice as much.
			sent := uint64(n*honest + i + 1)
			await(t, func() bool { return r.Stats().Relayed-before.Relayed >= 3*sent }, func() string {
				return fmt.Sprintf("want the flooders to get what is left; got %d relayed, of which at most %d are honest; %s", r.Stats().Relayed-before.Relayed, sent, show(r.Stats()))
			})
		}
	}
	relayed := map[netip.AddrPort]uint64{}
	for _, p := range flooding() {
		s := r.PeerStats(p)
		relayed[p.Addr()] = s.Received - s.Dropped[DropOverload]
		if state := r.PeerState(p).State; state != StateOverloading {
			t.Errorf("want a flooder to be %v; got %v", StateOverloading, state)
		}
	}
	if flooders == 5 || w.name == "lone" { // what waits would take long
		stop()
	}
	for _, pause := range pauses {
		pause()
	}
	await(t, func() bool { return atRest(r.Stats()) }, func() string { return "want all relayed or counted; got " + show(r.Stats()) })
	stop()

	got := 0
	for i, c := range clients {
		next := map[int]int{}
		for {
			text, ok := c.waiting()
			if !ok {
				break
			}
			var from, n int
			if _, err := fmt.Sscanf(text, "H %d %d", &from, &n); err != nil || from == i || n < next[from] {
				t.Fatalf("want datagrams of others, in order; peer %d got %q", i, text)
			}
			next[from] = n + 1
			got++
		}
	}
	want := count * honest * (honest - 1)
	t.Logf("honest: %d of %d; flooders had relayed %v; %s", got, want, relayed, show(r.Stats()))
	received := 0
	for _, c := range clients {
		p := r.Peers().Lookup(c.addr)
		if p == nil || r.PeerStats(p).Dropped[DropOverload] > 0 {
			t.Fatalf("want no honest peer over its share; %v is", c.addr)
		}
		received += int(r.PeerStats(p).Received) - 1 // it has joined
	}
	if ok = got >= want*99/100; !ok {
		if r.Stats().Dropped[DropReceiveQueueFull] == before.Dropped[DropReceiveQueueFull] || got < received*(honest-1)*99/100 {
			t.Errorf("want at least 99 %% of %d honest datagrams; got %d, and the relay received %d", want, got, received)
		}
	}
	checkSums(t, r)
	if hasFilter(t, keep) {
		t.Error("want no filter left when the relay has ended")
	}
	return ok
}

// crowdQueue sends so many datagrams from c that the receive queue of r, which does not
// receive, is crowded but not full, and returns how many.
func crowdQueue(t testing.TB, r *Relay, clients ...*client) (count int) {
	t.Helper()
	for {
		b := r.Buffers()
		if b.ReceiveUsed > b.Receive*3/4 {
			return count
		}
		clients[count%len(clients)].send(fmt.Sprintf("%d %d", count%len(clients), count))
		count++
	}
}

// stepAll lets r relay until it has relayed count datagrams.
func stepAll(t testing.TB, r *Relay, count uint64) {
	t.Helper()
	for r.Stats().Relayed < count {
		r.countKernelDrops()
		if lost := r.Stats().Dropped[DropReceiveQueueFull]; lost > 0 {
			t.Fatalf("want %d datagrams to fit into the receive queue; %d did not", count, lost)
		}
		if err := r.step(); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the kernel has room for a burst, nothing of it is lost, however much it is.
func TestBurstsAreKept(t *testing.T) {
	for _, w := range []way{ways[0], ways[1], ways[3]} {
		t.Run(w.name, func(t *testing.T) {
			options := defaults()
			options.ReceiveBuffer = 1 << 20
			r := makeRelay(t, w, on4, options)
			r.receiving.sender.start()
			t.Cleanup(r.receiving.sender.stop)
			sinks := newSinks(t, "127.0.0.1", 3)
			r.SetStatic(addrsOf(sinks))
			speakers := []*client{newClient(t, r.Addr()), newClient(t, r.Addr())}
			count := 0
			for range 3 {
				count += crowdQueue(t, r, speakers...)
				stepAll(t, r, uint64(count))
			}
			if r.receiving.backlog.queue == nil {
				t.Fatalf("want an overload; got none of %d datagrams", count)
			}
			checkSums(t, r)
			checkNoDrops(t, r)
			for _, s := range sinks {
				if got := int(s.count()); got != count {
					t.Errorf("want %d datagrams at each receiver; got %d", count, got)
				}
			}
		})
	}
}

// A few trains can be more than a relay sends in a long time: what comes meanwhile
// is received all the same.
func TestTrainsThatTakeLongToSendAreAnOverload(t *testing.T) {
	options := defaults()
	options.ReceiveBuffer = 1 << 20
	r := makeRelay(t, ways[0], on4, options)
	r.SetStatic(addrsOf(newSinks(t, "127.0.0.1", 1)))
	c := newClient(t, r.Addr())
	count := 0
	send := func() {
		c.sendTrain(trainOf(fmt.Sprint("train ", count), maxBatch, 1000, false))
		count += maxBatch
	}
	for range 3 {
		send()
	}
	if err := r.step(); err != nil { // receives all of them, and sends one
		t.Fatal(err)
	}
	for b := r.Buffers(); b.ReceiveUsed <= b.Receive*5/8; b = r.Buffers() {
		send()
	}
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	if !r.receiving.backlog.waiting() {
		t.Error("want what came meanwhile received; it waits in the kernel")
	}
	stepAll(t, r, uint64(count))
	checkSums(t, r)
	checkNoDrops(t, r)
}

// One that leaves and comes back in an overload does not get what it sent before.
func TestAPeerThatComesBackInAnOverloadGetsNothingOfItsOwn(t *testing.T) {
	options := defaults()
	options.ReceiveBuffer = 1 << 20
	r := makeRelay(t, ways[0], on4, options)
	r.SetStatic(addrsOf(newSinks(t, "127.0.0.1", 1)))
	c := newClient(t, r.Addr())
	count := crowdQueue(t, r, c)
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	if !r.receiving.backlog.waiting() {
		t.Fatal("want an overload; got none")
	}
	before := r.Peers().Lookup(c.addr)
	r.Peers().Forget(before)
	c.send("")
	stepAll(t, r, uint64(count))
	if p := r.Peers().Lookup(c.addr); p == nil || p == before || r.PeerStats(p).Delivered > 0 {
		t.Errorf("want another peer at %v that got nothing; got %v", c.addr, p)
	}
}

// One that may only send is one origin, whatever its ports: peers do not wait for
// each new one.
func TestNewPortsOfASenderAreOneOrigin(t *testing.T) {
	options := sendOnly(2)
	options.ReceiveBuffer = 1 << 20
	r := makeRelay(t, ways[0], on4, options)
	r.SetStatic(addrsOf(newSinks(t, "127.0.0.1", 1)))
	from := map[netip.AddrPort]bool{}
	var ports []*client
	for range 300 {
		c := newClientAt(t, netip.MustParseAddrPort("127.0.0.2:0"), r.Addr())
		ports, from[c.addr] = append(ports, c), true
	}
	crowdQueue(t, r, ports...)
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	peer := newClient(t, r.Addr())
	peer.send("from a peer")
	r.takeIn()
	b := newBatch()
	r.receiving.backlog.next(b, 0)
	waits := true
	for _, d := range b.datagrams {
		if d.From == peer.addr {
			waits = false
		} else if !from[d.From] {
			t.Fatalf("want datagrams from the ports that sent them; got one from %v", d.From)
		}
	}
	if waits || len(b.datagrams) < maxBatch {
		t.Errorf("want the peer's among the next %d datagrams, which a sender with 300 ports fills; got %d without it", maxBatch, len(b.datagrams))
	}
}

func TestRelayingInAnOverloadAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: this is tested without it")
		return
	}
	options := defaults()
	options.ReceiveBuffer = 1 << 20
	r := makeRelay(t, ways[0], on4, options)
	r.SetStatic(addrsOf(newSinks(t, "127.0.0.1", 20)))
	speakers := []*client{newClient(t, r.Addr()), newClient(t, r.Addr())}
	count, payload := crowdQueue(t, r, speakers...), []byte("some payload")
	stepAll(t, r, uint64(count))
	burst, want := count*5/6, uint64(count) // crowds the queue, too, and leaves some room
	relayBurst := func() {
		for i := range burst {
			binary.BigEndian.PutUint64(payload, want+uint64(i)) // no two are alike, or it would be a storm
			speakers[i%2].conn.Write(payload)
		}
		for want += uint64(burst); r.Stats().Relayed < want; {
			if err := r.step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	relayBurst()
	if allocs := testing.AllocsPerRun(10, relayBurst); allocs > 0 {
		t.Errorf("want no allocations for %d datagrams; got %v", burst, allocs)
	}
	checkNoDrops(t, r)
}

// The limits hold those that they are for and nobody else, and what they keep out
// is told from what is lost.
func TestLimitsInTheKernel(t *testing.T) {
	for _, place := range []struct {
		listen string
		hosts  []string
	}{{on4, []string{"127.0.0.1"}}, {on6, []string{"::1"}}, {onAll, []string{"127.0.0.1", "::1"}}} {
		t.Run(place.listen, func(t *testing.T) {
			r := makeRelay(t, ways[0], place.listen, defaults())
			s := r.socket.(*linuxSocket)
			received := func() (got map[netip.AddrPort]int) {
				got = map[netip.AddrPort]int{}
				for b := newBatch(); ; b.reset() {
					if s.poll(b); len(b.datagrams) == 0 {
						return got
					}
					for _, d := range b.datagrams {
						got[d.From]++
					}
				}
			}
			var clients []*client
			var limits []fairqueue.Limit
			for i := range 24 {
				c := newClient(t, at(r, place.hosts[i%len(place.hosts)]))
				clients = append(clients, c)
				switch i / 2 % 3 {
				case 0:
					limits = append(limits, fairqueue.Limit{From: c.addr, Pass: 1e-9})
				case 1:
					limits = append(limits, fairqueue.Limit{From: c.addr, Pass: 0.5})
				}
			}
			if !s.limit(limits) {
				t.Fatal("want limits; the system refuses the filter")
			}
			const each = 200
			in := 0
			for round := range each {
				for _, c := range clients {
					c.send(fmt.Sprint(round))
				}
			}
			got := received()
			for i, c := range clients {
				n := got[c.addr]
				in += n
				least, most := each, each
				switch i / 2 % 3 {
				case 0:
					least, most = 0, 0
				case 1:
					least, most = each/4, each*3/4 // seven standard deviations
				}
				if n < least || n > most {
					t.Errorf("client %d: want %d to %d of %d let in; got %d", i, least, most, each, n)
				}
			}
			keptOut, outside := s.pressure()
			if want := uint64(each*len(clients) - in); keptOut != want || outside.Lost > 0 {
				t.Errorf("want %d kept out and nothing lost; got %d, %+v", want, keptOut, outside)
			}
			r.countKernelDrops()
			checkNoDrops(t, r)

			// A limit of all ports of an address is not about the peers there.
			peer := clients[0]
			r.SetStatic([]netip.AddrPort{peer.addr})
			l := &r.receiving.backlog
			s.limit(l.exempt([]fairqueue.Limit{{From: netip.AddrPortFrom(peer.addr.Addr(), 0), Pass: 1e-9}}, r.Peers().Receivers()))
			for _, c := range clients {
				c.send("to a limit of an address")
			}
			got = received()
			for i, c := range clients {
				letIn := c == peer || c.addr.Addr() != peer.addr.Addr()
				if got[c.addr] > 0 != letIn {
					t.Errorf("client %d at %v: want let in %t where all ports but %v are limited; got %d", i, c.addr, letIn, peer.addr, got[c.addr])
				}
			}

			s.limit(nil)
			for _, c := range clients {
				c.send("again")
			}
			if got := received(); len(got) != len(clients) {
				t.Errorf("want all %d let in when the limits are gone; got %d", len(clients), len(got))
			}
		})
	}
}

// Before Linux 6.7 a socket has 20 KiB for filters and the like, unless it is set.
func TestLimitsFitIntoTheKernelOneAfterTheOther(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/core/optmem_max", []byte("20480"), 0); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	s := makeRelay(t, ways[0], on6, defaults()).socket.(*linuxSocket)
	var limits []fairqueue.Limit
	for n := range 32 {
		limits = append(limits, fairqueue.Limit{From: netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(1+n)), Pass: 0.5})
	}
	for n := range 3 {
		if !s.limit(limits) {
			t.Fatalf("time %d: want %d limits set; the system refuses the filter", n, len(limits))
		}
	}
}

// What a full queue loses while there are limits is not taken for what they keep
// out.
func TestWhatAFullQueueLosesIsToldFromWhatLimitsKeepOut(t *testing.T) {
	options := defaults()
	options.ReceiveBuffer = 256 << 10
	r := makeRelay(t, ways[0], on4, options)
	s := r.socket.(*linuxSocket)
	limited, free := newClient(t, r.Addr()), newClient(t, r.Addr())
	s.limit([]fairqueue.Limit{{From: limited.addr, Pass: 1e-9}})
	limited.send("kept out")
	s.pressure()
	const count = 5000
	for range count {
		free.send("lost, or not")
	}
	received := 0
	for b := newBatch(); ; b.reset() {
		if s.poll(b); len(b.datagrams) == 0 {
			break
		}
		received += len(b.datagrams)
	}
	keptOut, outside := s.pressure()
	r.countKernelDrops()
	lost := r.Stats().Dropped[DropReceiveQueueFull]
	if received == count || keptOut != 0 || outside.Lost != count-received || lost != uint64(count-received) {
		t.Errorf("want %d lost of %d and nothing kept out; got %d lost, %d kept out, %+v", count-received, count, lost, keptOut, outside)
	}
	if past := r.Past(); past.KernelDrops != uint32(count-received)+1 {
		t.Errorf("want the next relay to start from %d; got %d", count-received+1, past.KernelDrops)
	}
}

// What a full queue lost before an overload says nothing about those that send in it.
func TestWhatWasLostBeforeAnOverloadIsHeldAgainstNobody(t *testing.T) {
	options := defaults()
	options.ReceiveBuffer = 256 << 10
	r := makeRelay(t, ways[0], on4, options)
	c := newClient(t, r.Addr())
	for r.countKernelDrops() == 0 {
		c.send("lost, or not")
	}
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	if !r.receiving.backlog.waiting() {
		t.Fatal("want an overload; got none")
	}
	if _, outside := r.socket.pressure(); outside.Lost != 0 {
		t.Errorf("want nothing lost in the overload; got %d", outside.Lost)
	}
}

// A relay that has crashed has left a filter.
func TestAFilterOfBeforeIsTakenOut(t *testing.T) {
	conn := listen(t, on4)
	keep := dupOf(t, conn)
	attachTo(t, conn, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}})
	r, err := New(conn, defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.socket.close() })
	if hasFilter(t, keep) {
		t.Error("want the filter taken out; it is there")
	}
}
