package bench

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestASocketOfTheTableIsOfTheRelay(t *testing.T) {
	for _, test := range []struct {
		local, remote, relay string
		want                 bool
	}{
		{"0100007F:2328", "00000000:0000", "127.0.0.1:9000", true},
		{"00000000:2328", "00000000:0000", "192.0.2.1:9000", true},
		{"00000000000000000000000000000000:2328", "00000000000000000000000000000000:0000", "127.0.0.1:9000", true},
		{"00000000000000000000000001000000:2328", "00000000000000000000000000000000:0000", "[::1]:9000", true},
		{"0000000000000000FFFF00000100007F:2328", "00000000000000000000000000000000:0000", "127.0.0.1:9000", true},
		{"0100007F:2329", "00000000:0000", "127.0.0.1:9000", false},
		{"0200007F:2328", "00000000:0000", "127.0.0.1:9000", false},
		{"0100007F:2328", "0100007F:1234", "127.0.0.1:9000", false}, // connected
		{"0100007:2328", "00000000:0000", "127.0.0.1:9000", false},
		{"XXXXXXXX:2328", "00000000:0000", "127.0.0.1:9000", false},
	} {
		if hostIsBigEndian() && strings.Trim(test.local, "0:2389") != "" {
			continue // the table has words as the host has them
		}
		if got := isOf(test.local, test.remote, netip.MustParseAddrPort(test.relay)); got != test.want {
			t.Errorf("%s, connected to %s, for %s: want %v, got %v", test.local, test.remote, test.relay, test.want, got)
		}
	}
}

func TestDropsOfAReceiveQueueAreFound(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadBuffer(1); err != nil { // the least that there is
		t.Fatal(err)
	}
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if drops, ok := queueDrops(os.Getpid(), addr); !ok || drops != 0 {
		t.Errorf("want no drops yet, got %d, %v", drops, ok)
	}
	const count = 100
	for range count {
		if _, err := conn.WriteToUDPAddrPort(make([]byte, 1000), addr); err != nil {
			t.Fatal(err)
		}
	}
	if drops, ok := queueDrops(os.Getpid(), addr); !ok || drops == 0 || drops >= count {
		t.Errorf("want some of %d dropped, got %d, %v", count, drops, ok)
	}
	if _, ok := queueDrops(os.Getpid(), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), addr.Port())); ok {
		t.Error("want nothing of another address")
	}
}

func TestProcessesThatAreNotThere(t *testing.T) {
	const none = 1 << 30
	if _, err := processTime(none); err == nil || !strings.Contains(err.Error(), "process 1073741824: ") {
		t.Errorf("processor time: want an error, got %v", err)
	}
	if _, _, err := memoryOf(none); err == nil {
		t.Error("memory: want an error, got none")
	}
	ran, err := processTime(os.Getpid())
	ticked, err2 := ticks(os.Getpid())
	if err != nil || err2 != nil || ran <= 0 || ticked < 0 {
		t.Errorf("want the time of this process, got %v and %v, %v, %v", ran, ticked, err, err2)
	}
}

func hostIsBigEndian() bool { return binary.NativeEndian.Uint16([]byte{0, 1}) == 1 }
