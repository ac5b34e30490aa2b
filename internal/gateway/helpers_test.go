package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/framing"
	"udprelay/internal/testlog"
	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
	"udprelay/peers"
	"udprelay/relay"
)

// patience is how long a test waits for what must come. It decides only how
// late a failure is told.
const patience = testwait.Patience

// here is where gateways and relays of tests listen.
const here = "127.0.0.1:0"

// await waits until ok holds. What says what was wanted and got.
func await(t testing.TB, ok func() bool, what func() string) {
	t.Helper()
	testwait.Until(t, ok, what)
}

// A room is a relay with a gateway, which run until the test ends.
type room struct {
	t       testing.TB
	relay   *relay.Relay
	options relay.Options // with which the relay was made
	gateway *Gateway
	ways    Options // with which the gateway was opened
	log     *testlog.Log
	stop    func() // stops the relay, not the gateway
}

// rule returns a rule for what addresses may do and have to prove.
func rule(from string, may peers.May, join peers.Join) peers.Rule {
	cover, err := peers.ParseFrom(from)
	if err != nil {
		panic(err)
	}
	return peers.Rule{From: from, Cover: cover, May: may, Join: join}
}

// openRoom returns a room that everyone may enter, by UDP and by TCP, unless
// change says otherwise. With changes the gateway before it is opened.
func openRoom(t testing.TB, change func(*relay.Options, *Options), with ...func(*Gateway)) *room {
	t.Helper()
	r := &room{t: t, log: new(testlog.Log)}
	log := r.log.Logger()
	r.options = relay.Options{
		Peers:         peers.Options{Expiry: time.Hour, Access: []peers.Rule{rule("any", peers.MayBoth, peers.JoinOpen)}},
		ReceiveBuffer: 8 << 20, SendBuffer: 8 << 20,
		Logger: log,
	}
	r.ways = Options{TCP: here, Path: "/", Connections: 1000, Queue: 1 << 20}
	if change != nil {
		change(&r.options, &r.ways)
	}
	addr, err := net.ResolveUDPAddr("udp4", here)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	if r.relay, err = relay.New(conn, r.options); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.gateway = New(r.relay, log)
	t.Cleanup(r.gateway.Close)
	r.gateway.waits.leave = patience // so clients get what waits on a slow machine as well
	for _, change := range with {
		change(r.gateway)
	}
	r.apply(nil)
	return r
}

// run runs the relay until the test ends.
func (r *room) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.relay.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("want the relay to end without an error; got %v", err)
		}
	})
	r.t.Cleanup(r.stop)
}

// apply changes how the gateway is opened.
func (r *room) apply(change func(*Options)) {
	r.t.Helper()
	if change != nil {
		change(&r.ways)
	}
	if err := r.gateway.Apply(context.Background(), r.ways); err != nil {
		r.t.Fatalf("want the gateway open; got %v", err)
	}
}

// addr returns where clients come by that transport.
func (r *room) addr(by peers.Transport) netip.AddrPort {
	r.t.Helper()
	if by == peers.UDP {
		return r.relay.Addr()
	}
	addr, ok := r.gateway.Addrs()[by]
	if !ok {
		r.t.Fatalf("want the gateway to listen for %v; it does at %v", by, r.gateway.Addrs())
	}
	return addr
}

// peer returns the connected peer at addr, or nil.
func (r *room) peer(addr netip.AddrPort) *peers.Peer {
	for _, p := range r.relay.Peers().Peers() {
		if p.Connected() && p.Addr() == addr {
			return p
		}
	}
	return nil
}

// awaitPeers waits until there are so many, UDP ones included.
func (r *room) awaitPeers(count int) {
	r.t.Helper()
	await(r.t, func() bool { return len(r.relay.Peers().Peers()) == count }, func() string {
		return fmt.Sprintf("want %d peers; got %d", count, len(r.relay.Peers().Peers()))
	})
}

// awaitEnded waits until so many connections have ended for a reason.
func (r *room) awaitEnded(why Reason, count uint64) {
	r.t.Helper()
	await(r.t, func() bool { return r.gateway.Stats().Ended[why] == count }, func() string {
		return fmt.Sprintf("want %d connections to end as %v; got %v", count, why, r.gateway.Stats().Ended)
	})
}

// awaitDropped waits until at least so many were dropped for a reason.
func (r *room) awaitDropped(why relay.Drop, count uint64) {
	r.t.Helper()
	await(r.t, func() bool { return r.relay.Stats().Dropped[why] >= count }, func() string {
		return fmt.Sprintf("want %d dropped as %v; got %+v", count, why, r.relay.Stats())
	})
}

// balance waits until nothing is under way, and fails the test unless all that
// was received and all that was due is accounted for, for each peer as well. A
// batch that has no count yet is not waited for: awaitRelayed does that.
func (r *room) balance() {
	r.t.Helper()
	var s relay.Stats
	holds := func() bool {
		s = r.relay.Stats()
		in, out := s.KeepAlives+s.Relayed, s.Delivered
		for _, why := range relay.Drops() {
			switch {
			case why.OnTheWayOut():
				out += s.Dropped[why]
			case why != relay.DropReceiveQueueFull:
				in += s.Dropped[why]
			}
		}
		return s.Received == in && s.Due == out
	}
	await(r.t, holds, func() string { return fmt.Sprintf("want every datagram accounted for; got %+v", s) })
}

// awaitRelayed waits until so many datagrams have been relayed: who has heard one
// may know of it before it is counted.
func (r *room) awaitRelayed(count uint64) {
	r.t.Helper()
	await(r.t, func() bool { return r.relay.Stats().Relayed >= count },
		func() string { return fmt.Sprintf("want %d relayed; got %+v", count, r.relay.Stats()) })
}

// wantNoDrops fails the test if the relay has dropped anything.
func (r *room) wantNoDrops() {
	r.t.Helper()
	for why, count := range r.relay.Stats().Dropped {
		if count > 0 {
			r.t.Errorf("want no drops; got %d as %v", count, relay.Drop(why))
		}
	}
}

// A talker is a client that is in the room.
type talker interface {
	say(payload string)      // fails the test if it cannot
	hear() (string, error)   // waits; the error is that of a connection that has ended
	address() netip.AddrPort // its own
}

// A udpTalker is one by UDP.
type udpTalker struct {
	t    testing.TB
	conn *net.UDPConn
	room [framing.MaxPayload]byte
}

// udp returns a UDP client that is a peer.
func (r *room) udp() *udpTalker {
	r.t.Helper()
	c := r.udpStranger()
	c.say("")
	await(r.t, func() bool { return r.relay.Peers().Lookup(c.address()) != nil }, func() string {
		return "want the UDP client to be a peer; it is none"
	})
	return c
}

// udpStranger returns a UDP client that has said nothing yet.
func (r *room) udpStranger() *udpTalker {
	r.t.Helper()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.relay.Addr()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetReadBuffer(4 << 20)
	return &udpTalker{t: r.t, conn: conn}
}

func (c *udpTalker) address() netip.AddrPort { return addrOfUDP(c.conn.LocalAddr()) }

func addrOfUDP(addr net.Addr) netip.AddrPort {
	a := addr.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (c *udpTalker) say(payload string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(payload)); err != nil {
		c.t.Fatalf("say %d bytes by UDP: %v", len(payload), err)
	}
}

func (c *udpTalker) hear() (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := c.conn.Read(c.room[:])
	return string(c.room[:n]), err
}

// A streamTalker is one by TCP or TLS.
type streamTalker struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// dial connects by TCP to where clients come by that transport; source is the
// address to come from, or "".
func (r *room) dial(by peers.Transport, source string) *net.TCPConn {
	r.t.Helper()
	var from *net.TCPAddr
	if source != "" {
		from = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	conn, err := net.DialTCP("tcp", from, net.TCPAddrFromAddrPort(r.addr(by)))
	if err != nil {
		r.t.Fatalf("connect to the gateway: %v", err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

func newStreamTalker(t testing.TB, conn net.Conn) *streamTalker {
	return &streamTalker{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// tcp returns a TCP client that is a peer.
func (r *room) tcp() *streamTalker {
	r.t.Helper()
	return r.tcpFrom("")
}

// tcpFrom is tcp for one that comes from an address.
func (r *room) tcpFrom(source string) *streamTalker {
	r.t.Helper()
	c := newStreamTalker(r.t, r.dial(peers.TCP, source))
	r.awaitIn(c.address())
	return c
}

// awaitIn waits until the one at addr is a connected peer.
func (r *room) awaitIn(addr netip.AddrPort) {
	r.t.Helper()
	await(r.t, func() bool { return r.peer(addr) != nil }, func() string {
		return fmt.Sprintf("want %v to be a connected peer; it is none: %v", addr, r.gateway.Stats())
	})
}

func (c *streamTalker) address() netip.AddrPort { return addrOf(c.conn.LocalAddr()) }

func (c *streamTalker) say(payload string) {
	c.t.Helper()
	c.sayAll(payload)
}

// sayAll sends several frames in one write.
func (c *streamTalker) sayAll(payloads ...string) {
	c.t.Helper()
	var frames []byte
	for _, p := range payloads {
		frames = framing.Append(frames, []byte(p))
	}
	c.write(frames)
}

// write sends bytes, whatever they mean.
func (c *streamTalker) write(bytes []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(bytes); err != nil {
		c.t.Fatalf("send %d bytes by a stream: %v", len(bytes), err)
	}
}

// closeWrite tells the other end that nothing more comes.
func (c *streamTalker) closeWrite() {
	c.t.Helper()
	if err := c.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *streamTalker) hear() (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	var header [framing.HeaderSize]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return "", err
	}
	payload := make([]byte, binary.BigEndian.Uint16(header[:]))
	_, err := io.ReadFull(c.in, payload)
	return string(payload), err
}

// wantsEnd fails the test unless the next that comes is the end of the
// connection.
func (c *streamTalker) wantsEnd() {
	c.t.Helper()
	if payload, err := c.hear(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("want the connection to end; got %s, %v", short(payload), err)
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !strings.Contains(err.Error(), "forcibly closed") {
		c.t.Fatalf("want the connection to end; got the error %v", err)
	}
}

// wants fails the test unless payloads are the next datagrams that c hears.
func wants(t testing.TB, c talker, payloads ...string) {
	t.Helper()
	for i, want := range payloads {
		got, err := c.hear()
		if err != nil {
			t.Fatalf("want %s as datagram %d at %v; got %v", short(want), i, c.address(), err)
		}
		if got != want {
			t.Fatalf("want %s as datagram %d at %v; got %s", short(want), i, c.address(), short(got))
		}
	}
}

// short quotes a payload, without its end if it is long.
func short(payload string) string {
	if len(payload) > 60 {
		return fmt.Sprintf("%q… (%d bytes)", payload[:60], len(payload))
	}
	return fmt.Sprintf("%q", payload)
}

// needLoopback is for tests with clients at several loopback addresses.
func needLoopback(t testing.TB) {
	t.Helper()
	conn, err := net.Listen("tcp4", "127.0.0.4:0")
	testneed.True(t, err == nil, "all of 127.0.0.0/8 on the loopback interface: %v", err)
	conn.Close()
}
