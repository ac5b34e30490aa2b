package relay

import (
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlOfMessage returns a control message as the kernel writes it, of which
// only so many bytes of data had room.
func controlOfMessage(level, kind int32, data []byte, room int) []byte {
	control := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(min(room, len(data))))
	copy(control[unix.CmsgLen(0):], data)
	return control[:unix.CmsgLen(0)+min(room, len(data))]
}

// parsed returns what a ring makes of control.
func parsed(control []byte) inside {
	r := &ring{controls: make([]byte, controlSpace)}
	r.messages[0].header.SetControllen(copy(r.controls, control))
	return r.parse(0)
}

// What a control message had no room for is not taken from behind its end.
func TestParseTakesNothingFromBehindAControlMessage(t *testing.T) {
	segment := controlOfMessage(unix.IPPROTO_UDP, unix.UDP_GRO, []byte{0xd2, 4, 0, 0}, 4)
	for room := range 4 {
		if got := parsed(controlOfMessage(unix.IPPROTO_UDP, unix.UDP_GRO, []byte{0xd2, 4, 0, 0}, room)); got != (inside{}) {
			t.Errorf("want nothing of a size with %d bytes; got %+v", room, got)
		}
	}
	for _, place := range []struct {
		level, kind int32
		size        int
	}{{unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo}, {unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo}} {
		data := make([]byte, place.size)
		for i := range data {
			data[i] = 10
		}
		whole := append(append([]byte(nil), segment...), make([]byte, unix.CmsgSpace(4)-len(segment))...)
		for room := range place.size {
			got := parsed(append(whole[:len(whole):len(whole)], controlOfMessage(place.level, place.kind, data, room)...))
			if got.to.addr.IsValid() || got.segment == 0 {
				t.Errorf("want the size and no address of %d bytes; got %+v", room, got)
			}
		}
		if got := parsed(append(whole[:len(whole):len(whole)], controlOfMessage(place.level, place.kind, data, place.size)...)); !got.to.addr.IsValid() || got.segment == 0 {
			t.Errorf("want the size and an address; got %+v", got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(controlOfMessage(unix.IPPROTO_UDP, unix.UDP_GRO, []byte{1, 0, 0, 0}, 4))
	f.Add(controlOfMessage(unix.IPPROTO_UDP, unix.UDP_GRO, []byte{1, 0, 0, 0}, 0))
	f.Add(controlOfMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, unix.SizeofInet6Pktinfo), 7))
	f.Add(make([]byte, unix.SizeofCmsghdr)) // of length 0
	f.Fuzz(func(t *testing.T, control []byte) {
		if got := parsed(control); got.to.link != 0 && !got.to.addr.Is6() {
			t.Errorf("want an interface with IPv6 only; got %+v", got)
		}
	})
}

// A socket that another program has opened may have the kernel tell more than
// the relay asks for. The sizes of trains must not be among what has no room.
func TestTrainsAreSplitWhereTheKernelTellsMore(t *testing.T) {
	for _, place := range []string{on4, onAll} {
		conn := listen(t, place)
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			for _, option := range []struct{ level, name, value int }{
				{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
				{unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE},
				{unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
				{unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
			} {
				if err := unix.SetsockoptInt(int(fd), option.level, option.name, option.value); err != nil {
					t.Fatalf("option %d: %v", option.name, err)
				}
			}
		})
		r, err := New(conn, defaults())
		if err != nil {
			t.Fatal(err)
		}
		run(t, r)
		to := near(r)
		if place == onAll {
			to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), to.Port())
		}
		hears, speaks := newPeer(t, r, to), newPeer(t, r, to)
		train := trainOf("train", 5, 30, true)
		speaks.sendTrain(train)
		hears.wants(train...)
		checkNoDrops(t, r)
	}
}
