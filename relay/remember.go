package relay

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"udprelay/peers"
)

// A Remembered is what outlives a relay of a learned peer.
type Remembered struct {
	peers.Remembered

	// Source is the local address that the peer knows the relay by, and Link
	// the number of its interface if it is link-local. The zero Addr: the
	// relay did not need to know.
	Source netip.Addr
	Link   uint32
}

// Remember returns what is to outlive the relay of its learned peers, in the
// order in which they joined; those that are connected have to connect again.
// Zones are numbers of interfaces. Any goroutine may
// call it.
func (r *Relay) Remember() []Remembered {
	all := r.table.Peers()
	list := make([]Remembered, 0, len(all))
	for _, p := range all {
		heard, ever := r.table.LastHeard(p)
		if p.Static() || p.Connected() || !ever {
			continue
		}
		m := Remembered{Remembered: peers.Remembered{Addr: p.Addr(), Joined: r.table.Joined(p), Heard: heard, Proof: p.Proof()}}
		if source := p.Path.Source.Load(); source != nil {
			m.Source, m.Link = source.Addr, source.Link
		}
		list = append(list, m)
	}
	return list
}

// Restore makes learned peers of those that another relay remembered, see
// [peers.Table.Restore], and returns how many. What leaves for them has the
// source that they know. Those at an interface that is not there are passed
// over. It must not be called once Run was.
func (r *Relay) Restore(list []Remembered) (restored int) {
	var (
		there = make(map[string]bool) // zones
		known = make([]peers.Remembered, 0, len(list))
	)
	for i := range list {
		m := list[i].Remembered
		m.Addr = unmap(m.Addr)
		if zone := m.Addr.Addr().Zone(); zone != "" {
			if _, looked := there[zone]; !looked {
				there[zone] = isInterface(zone)
			}
			if !there[zone] {
				continue
			}
		}
		known = append(known, m)
	}
	for _, p := range r.table.Restore(known, time.Now()) {
		r.log.Debug("peer restored", "peer", p.Addr())
		restored++
	}
	for i := range list {
		m := &list[i]
		p := r.table.Lookup(unmap(m.Addr))
		if p == nil || m.Source.Unmap().Is4() != p.Addr().Addr().Is4() {
			continue
		}
		l := local{addr: m.Source.Unmap().WithZone("")}
		if l.addr.Is6() && l.addr.IsLinkLocalUnicast() {
			if l.link = m.Link; l.link != 0 && !isInterface(strconv.FormatUint(uint64(l.link), 10)) {
				continue
			}
		}
		if source := r.socket.source(l); source != nil {
			p.Path.Source.CompareAndSwap(nil, source)
		}
	}
	return restored
}

// A Past is up to where a relay has counted the datagrams that the kernel drops
// because the receive queue of its socket is full.
type Past struct {
	Socket      uint64 // tells the socket from all others until the next boot (SO_COOKIE); 0: the system does not say
	KernelDrops uint32 // datagrams that the kernel has dropped at it since it was opened, modulo 2³² (SO_MEMINFO)
}

// Past returns what the next relay of the same socket, if there is one, is to
// give to [Relay.Resume]. Run counts once a second at least, and for the last
// time when nothing more is received, before it returns. On systems other than
// Linux, and before Linux 4.12, it returns the zero Past. Any goroutine may call
// it.
func (r *Relay) Past() Past {
	p := r.socket.past()
	if p.Socket == 0 {
		return Past{}
	}
	p.KernelDrops += uint32(r.counters.dropped[DropReceiveQueueFull].Load()) // as countKernelDrops has left it
	return p
}

// Resume makes the relay count what the kernel drops from where another relay of
// the same socket has left off: what came while neither received, and found the
// receive queue full, is logged, counted as [DropReceiveQueueFull] and returned.
// After a crash that may have some which the relay before had counted, too.
//
// Without Resume, or if p is of another socket or cannot be true, what the kernel
// had dropped before New at the socket of another relay is not counted. P must
// not be from before a boot. Resume must be called before Run and before others
// use the relay.
func (r *Relay) Resume(p Past) (missed uint64) {
	if !r.socket.resume(p) {
		return 0
	}
	if missed = r.countKernelDrops(); missed > 0 {
		r.log.Warn("datagrams dropped", "reason", DropReceiveQueueFull.String(), "count", missed, "total", missed,
			"hint", "nobody received while the relay was restarted, and there was no room for these; to have more, raise socket.receive_buffer")
	}
	return missed
}

// isInterface reports whether zone is the number of an interface.
func isInterface(zone string) bool {
	number, err := strconv.Atoi(zone)
	if err != nil || number <= 0 {
		return false
	}
	_, err = net.InterfaceByIndex(number)
	return err == nil
}
