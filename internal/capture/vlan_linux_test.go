package capture

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// TestTcpdumpsVLANsPlay has tcpdump capture tagged frames, one tag and two, of
// IPv4 and IPv6, as they arrive on the loopback interface of a network namespace
// of its own. The kernel takes the outer tag off, and tcpdump puts it back in; of
// two on "any" what it writes is neither a tag nor IP, for Wireshark as for us.
func TestTcpdumpsVLANsPlay(t *testing.T) {
	testneed.Tool(t, "tcpdump")
	if !nettest.Inside(t) {
		return
	}
	const tag, service = "\x81\x00\x00\x05", "\x88\xa8\x00\x07"
	frames := [][]byte{
		udp4(mac+tag+"\x08\x00", "one tag"),
		udp6(mac+tag+"\x86\xdd", "one tag, IPv6"),
		udp4(mac+service+tag+"\x08\x00", "two tags"),
		udp4(mac+tag+"\x08\x00", "the end"),
	}
	for _, options := range [][]string{{"-i", "lo"}, {"-i", "any", "-y", "LINUX_SLL"}, {"-i", "any", "-y", "LINUX_SLL2"}} {
		want := []string{"one tag", "one tag, IPv6", "two tags", "the end"}
		if options[1] == "any" {
			want = slices.Delete(want, 2, 3)
		}
		name := filepath.Join(t.TempDir(), "tagged.pcap")
		stop := startTcpdump(t, append(options, "-Q", "in", "-w", name)...)
		for _, frame := range frames {
			sendFrame(t, frame)
		}
		var data []byte
		await(t, "the last frame in the file", func() bool {
			data, _ = os.ReadFile(name)
			return bytes.Contains(data, []byte("the end"))
		})
		stop()
		if options[1] == "lo" && !bytes.Contains(data, []byte(tag)) {
			t.Error("want tags in the file")
		}
		m := newMemory()
		got, err := playerOf(data, m).Play(t.Context())
		if err != nil || !slices.Equal(m.sent, want) || got.Skipped[SkipNotUDP] != uint64(len(frames)-len(want)) {
			t.Errorf("%q: want %q, got %q, %+v, %v", options, want, m.sent, got, err)
		}
	}
}

// sendFrame sends an Ethernet frame on the loopback interface, where nobody but
// a capture takes it.
func sendFrame(t *testing.T, frame []byte) {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL})
	if err := unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Protocol: all, Ifindex: lo.Index, Halen: 6}); err != nil {
		t.Fatal(err)
	}
}
