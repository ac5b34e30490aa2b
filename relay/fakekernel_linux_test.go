package relay

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"udprelay/peers"
)

// A fakeKernel stands in for sendmmsg(2). It reads the messages as Linux does,
// stops at the first that it refuses, tells how many it took, and the error
// only if that is none.
type fakeKernel struct {
	t      rapid.TB
	refuse func(*wireMessage) unix.Errno // 0: takes it
	route  func(*wireMessage) unix.Errno // what a probe answers; nil: 0, there is a route
	short  func(int) int                 // of so many messages, how many a call looks at; nil: all

	got   map[netip.AddrPort][]arrival // by receiver, in order
	waits int                          // for room in the send buffer
	muted bool                         // it was told to keep no errors of the network
	calls int
	told  int // calls that ended with an error
}

// A wireMessage is a message as the kernel sees it.
type wireMessage struct {
	to        netip.AddrPort
	source    netip.Addr // the zero Addr: the kernel chooses
	segment   int        // of UDP_SEGMENT, in bytes; 0: not there
	datagrams []string   // after splitting
}

func (m *wireMessage) train() bool { return len(m.datagrams) > 1 }

// An arrival is a datagram as its receiver got it.
type arrival struct {
	payload string
	source  netip.Addr
	train   int // datagrams in the message that brought it
}

// newFakeSender returns a sender on a socket, of IPv6 or IPv4, whose system
// calls are those of the fake kernel.
func newFakeSender(t rapid.TB, v6 bool) (*trainSender, *fakeKernel) {
	own := new(own)
	own.host.Store(newHost(nil))
	s := (&linuxSocket{own: own, v6: v6, wildcard: true}).newSender(nil).(*trainSender)
	k := newFakeKernel(t)
	s.sendmmsg = k.sendmmsg
	s.probe = k.probe
	s.mute = func() { k.muted = true }
	s.waitWrite = func() { k.waits++ }
	s.queued = func() int { return 0 }
	return s, k
}

func newFakeKernel(t rapid.TB) *fakeKernel {
	return &fakeKernel{t: t, got: make(map[netip.AddrPort][]arrival), refuse: func(*wireMessage) unix.Errno { return 0 }}
}

func (k *fakeKernel) sendmmsg(headers []mmsghdr) (int, unix.Errno) {
	k.calls++
	if len(headers) == 0 || len(headers) > 1024 {
		k.t.Fatalf("want a call with 1 to 1024 messages (UIO_MAXIOV); got %d", len(headers))
	}
	if k.short != nil {
		headers = headers[:max(1, k.short(len(headers)))]
	}
	for i := range headers {
		m := k.read(&headers[i].header)
		if errno := k.refuse(m); errno != 0 {
			if i == 0 {
				k.told++
				return -1, errno
			}
			return i, 0
		}
		for _, d := range m.datagrams {
			k.got[m.to] = append(k.got[m.to], arrival{d, m.source, len(m.datagrams)})
		}
	}
	return len(headers), 0
}

func (k *fakeKernel) probe(header *unix.Msghdr) unix.Errno {
	if k.route == nil {
		return 0
	}
	return k.route(k.read(header))
}

// read takes a message apart.
func (k *fakeKernel) read(h *unix.Msghdr) *wireMessage {
	m := &wireMessage{to: k.readName(unsafe.Slice(h.Name, h.Namelen))}
	k.readControl(m, unsafe.Slice(h.Control, h.Controllen))
	var payload []byte
	vectors := unsafe.Slice(h.Iov, h.Iovlen)
	for _, v := range vectors {
		payload = append(payload, unsafe.Slice(v.Base, v.Len)...)
	}
	if len(payload) > 65507 && m.segment != 0 {
		k.t.Errorf("want trains of at most 65507 bytes; got %d", len(payload))
	}
	if len(vectors) > 1 != (m.segment != 0) {
		k.t.Errorf("want UDP_SEGMENT on trains and on nothing else; got %d for %d datagrams", m.segment, len(vectors))
	}
	for m.segment != 0 && len(payload) > m.segment {
		m.datagrams = append(m.datagrams, string(payload[:m.segment]))
		payload = payload[m.segment:]
	}
	m.datagrams = append(m.datagrams, string(payload))
	if len(m.datagrams) != len(vectors) || len(vectors) > 64 {
		k.t.Errorf("want each of at most 64 datagrams split off as it was; got %d of %d", len(m.datagrams), len(vectors))
	}
	return m
}

func (k *fakeKernel) readName(name []byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(name[2:])
	switch family := binary.NativeEndian.Uint16(name); {
	case family == unix.AF_INET && len(name) == unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(name[4:8])), port)
	case family == unix.AF_INET6 && len(name) == unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(name[8:24])).Unmap(), port)
	}
	k.t.Fatalf("want a name of IPv4 or IPv6; got % x", name)
	return netip.AddrPort{}
}

func (k *fakeKernel) readControl(m *wireMessage, control []byte) {
	if len(control) == 0 {
		return
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		k.t.Fatalf("want control messages; got % x: %v", control, err)
	}
	for _, c := range messages {
		switch {
		case c.Header.Level == unix.IPPROTO_UDP && c.Header.Type == unix.UDP_SEGMENT && len(c.Data) >= 2:
			m.segment = int(binary.NativeEndian.Uint16(c.Data))
		case c.Header.Level == unix.IPPROTO_IP && c.Header.Type == unix.IP_PKTINFO && len(c.Data) >= unix.SizeofInet4Pktinfo:
			m.source = netip.AddrFrom4([4]byte(c.Data[4:8])) // ipi_spec_dst
		case c.Header.Level == unix.IPPROTO_IPV6 && c.Header.Type == unix.IPV6_PKTINFO && len(c.Data) >= unix.SizeofInet6Pktinfo:
			m.source = netip.AddrFrom16([16]byte(c.Data[:16])).Unmap()
		default:
			k.t.Errorf("want control messages UDP_SEGMENT and PKTINFO; got %+v", c.Header)
		}
	}
}

// payloads returns what a receiver got, in order.
func (k *fakeKernel) payloads(p *peers.Peer) (list []string) {
	for _, a := range k.got[p.Addr()] {
		list = append(list, a.payload)
	}
	return list
}

// A room is a table of peers in numbers: 198.51.100.1 or 2001:db8::1 and so on.
type room struct {
	table *peers.Table
	peers []*peers.Peer
}

func newRoom(v6 bool, count int) *room {
	r := &room{table: peers.New(peers.Options{Expiry: time.Hour, Access: anyoneMay(peers.MayBoth)}, time.Now())}
	for i := range count {
		addr := netip.AddrFrom4([4]byte{198, 51, 100 + byte(i>>8), byte(i)})
		if v6 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		}
		p, _ := r.table.Heard(netip.AddrPortFrom(addr, 9000), time.Now())
		r.peers = append(r.peers, p)
	}
	return r
}

// relayAddr is the address that peers with one know the relay by.
func relayAddr(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr("2001:db8::cafe")
	}
	return netip.MustParseAddr("192.0.2.1")
}

// knownBy makes peers know the relay by relayAddr.
func knownBy(s *trainSender, list ...*peers.Peer) {
	source := s.socket.sources.of(local{addr: relayAddr(s.socket.v6)}, s.socket.sourceControl)
	for _, p := range list {
		p.Path.Source.Store(source)
	}
}

// said makes a batch: for each datagram its payload and who said it.
func said(origins []*peers.Peer, payloads ...string) *batch {
	b := newBatch()
	for i, payload := range payloads {
		b.datagrams = append(b.datagrams, Datagram{Payload: []byte(payload)})
		b.origins = append(b.origins, origins[i])
		if origins[i] != nil {
			b.speaks(origins[i])
		}
	}
	return b
}
