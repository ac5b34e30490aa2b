package bench

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"time"
)

// The most of each, so that a slip of the finger does not take the machine.
const (
	MostPeers        = 100_000
	MostSenders      = 10_000
	MostLatencyPeers = 64
	MostDuration     = time.Hour
	MostRate         = 100_000_000
)

// A Config says what to load a relay with.
type Config struct {
	Relay netip.AddrPort

	// ReceiversAt is where the peers that only receive join, another relay of the
	// same cluster; the zero AddrPort: at Relay, as the senders.
	ReceiversAt netip.AddrPort

	Peers   int // that only receive
	Senders int // that take turns to send; they receive what the others send
	Mix     Mix // how long datagrams are

	// Rate is how many datagrams leave in a second, of all senders together, at
	// times that are set beforehand: nothing waits for the relay. 0: as many as
	// the relay relays, with at most Window of them under way.
	Rate float64

	// Flood, with a Rate of 0, sends without waiting for anything. What the relay
	// cannot take is lost, and counted.
	Flood bool

	// Window is how many datagrams may be under way to the relay; 0: 256, or
	// fewer if they are long, so that they fit into Linux's default receive buffer.
	Window int

	Duration     time.Duration // longer if nothing has come by then
	LatencyPeers int           // of Peers, that receive for real and note when; where there is a window, one or two fewer than Peers at most
	Trains       bool          // senders put datagrams of equal size into trains (UDP_SEGMENT)

	Secret    []byte        // for a relay that wants to be shown the knowledge of one
	KeepAlive time.Duration // how often each peer sends an empty datagram; 0: 15 s

	// Open says that the relay asks for no proofs. Without, an empty datagram that
	// it sends is taken for a wish for one, until it turns out that the relay passes
	// on those of others.
	Open bool

	// Static are the addresses of receivers that the relay knows from its
	// configuration. They are opened instead of Peers receivers, and say nothing;
	// senders get nothing.
	Static []netip.AddrPort

	PID int // the relay's process on this machine; 0: not known
}

const defaultKeepAlive = 15 * time.Second

// receivers returns how many there are besides the senders.
func (c *Config) receivers() int {
	if len(c.Static) > 0 {
		return len(c.Static)
	}
	return c.Peers
}

// receiversAt returns where receivers join.
func (c *Config) receiversAt() netip.AddrPort {
	if c.ReceiversAt.IsValid() {
		return c.ReceiversAt
	}
	return c.Relay
}

// due returns how many should get each datagram.
func (c *Config) due() int {
	if len(c.Static) > 0 {
		return len(c.Static)
	}
	return c.Peers + c.Senders - 1
}

// window returns how many datagrams may be under way: as many as fit into
// three quarters of Linux's default receive buffer of 208 KiB, as the kernel frees
// room in quarters.
func (c *Config) window() int {
	const most, room = 256, 212_992 / 4 * 3
	if c.Window > 0 {
		return c.Window
	}
	return min(most, max(2, room/bufferOf(c.Mix.longest())))
}

// bufferOf returns how many bytes of a receive buffer a datagram takes, at most: its
// payload, headers and the end of the buffer, in a block whose size is a power of
// two, and what describes it.
func bufferOf(size int) int {
	const beside, description = 384, 256
	return 1<<bits.Len(uint(size+beside-1)) + description
}

// Check returns what is wrong with c, or nil.
func (c *Config) Check() error {
	for _, relay := range []netip.AddrPort{c.Relay, c.receiversAt()} {
		addr := relay.Addr()
		switch {
		case !relay.IsValid() || relay.Port() == 0:
			return fmt.Errorf("%v is no address of a relay", relay)
		case addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fmt.Errorf("%v is no address of one host", addr)
		}
	}
	switch {
	case c.ReceiversAt.IsValid() && len(c.Static) > 0:
		return fmt.Errorf("static receivers do not join, and %v is where receivers join: want one of them", c.ReceiversAt)
	case c.receivers() < 1 || c.receivers() > MostPeers:
		return fmt.Errorf("%d peers: want 1 to %d", c.receivers(), MostPeers)
	case c.Senders < 1 || c.Senders > MostSenders:
		return fmt.Errorf("%d senders: want 1 to %d", c.Senders, MostSenders)
	case !(c.Rate >= 0) || c.Rate > MostRate:
		return fmt.Errorf("a rate of %v: want 0 to %d datagrams a second", c.Rate, MostRate)
	case c.Duration <= 0 || c.Duration > MostDuration:
		return fmt.Errorf("a duration of %v: want more than 0s, up to %v", c.Duration, MostDuration)
	case c.Rate > 0 && math.Floor(c.Rate*c.Duration.Seconds()) < 1:
		return fmt.Errorf("%v datagrams a second are none in %v", c.Rate, c.Duration)
	case c.Flood && c.Rate > 0:
		return fmt.Errorf("a flood has no rate, and %v is one", c.Rate)
	case c.Window < 0 || c.Window > math.MaxUint16:
		return fmt.Errorf("a window of %d: want 0 to %d datagrams", c.Window, math.MaxUint16)
	case c.LatencyPeers < 0 || c.LatencyPeers > MostLatencyPeers:
		return fmt.Errorf("%d latency peers: want 0 to %d", c.LatencyPeers, MostLatencyPeers)
	case c.KeepAlive < 0:
		return fmt.Errorf("keep-alives every %v: want 0s or more", c.KeepAlive)
	}
	return nil
}
