package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"

	"udprelay/relay"
)

func TestTsharkReadsWhatIsRecorded(t *testing.T) {
	payloads := []string{"a", "ab", "hello", strings.Repeat("\x00", 100), strings.Repeat("\xff", 1472), strings.Repeat("long", 16376) + "end"}
	for name, test := range map[string]struct{ origin, to netip.AddrPort }{
		"IPv4": {origin4, relay4},
		"IPv6": {origin6, relay6},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, Options{Version: "1.2.3", To: test.to})
			r.Deliver(from(test.origin, payloads...))
			file := save(t, drained(t, r))
			lines := tshark(t, file, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-d", "udp.port==9000,data",
				"-T", "fields", "-E", "separator=/s", "-e", "ip.src", "-e", "ipv6.src", "-e", "udp.srcport", "-e", "ip.dst", "-e", "ipv6.dst", "-e", "udp.dstport",
				"-e", "udp.checksum.status", "-e", "ip.checksum.status", "-e", "udp.payload", "-e", "_ws.malformed")
			if len(lines) != len(payloads) {
				t.Fatalf("want %d packets, got %d: %.2000q", len(payloads), len(lines), lines)
			}
			good := "1"
			if test.origin.Addr().Is4() {
				good = "1 1" // that of the header of IPv4, too
			}
			for i, line := range lines {
				want := fmt.Sprintf("%v %d %v %d %s %x", test.origin.Addr(), test.origin.Port(), test.to.Addr(), test.to.Port(), good, payloads[i])
				if got := strings.Join(strings.Fields(line), " "); got != want {
					t.Errorf("packet %d:\nwant %.200s\ngot  %.200s", i+1, want, got)
				}
			}
			if bad := tshark(t, file, "-o", "udp.check_checksum:TRUE", "-Y", "_ws.expert.severity >= 6291456 || ip.checksum.status == 0 || udp.checksum.status == 0"); bad[0] != "" {
				t.Errorf("want nothing that tshark warns of, got %q", bad)
			}
		})
	}
}

// TestChecksumsOfAllSizes lets tshark look at odd and even sizes, and at those
// whose checksum would be 0.
func TestChecksumsOfAllSizes(t *testing.T) {
	r := newRecorder(t, Options{To: netip.MustParseAddrPort("[::]:9000")})
	for size := 1; size < 200; size++ {
		payload := bytes.Repeat([]byte{byte(size * 37), byte(size * 91)}, size)[:size]
		r.Deliver([]relay.Datagram{{Payload: payload, From: origin4}, {Payload: payload, From: origin6}})
	}
	// All checksums of a payload of two bytes: one of them is 0.
	for word := range 1 << 16 {
		r.Deliver([]relay.Datagram{{Payload: []byte{byte(word >> 8), byte(word)}, From: origin4}})
	}
	lines := tshark(t, save(t, drained(t, r)), "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields", "-e", "udp.checksum.status", "-e", "ip.checksum.status")
	if len(lines) != 199*2+1<<16 {
		t.Fatalf("want %d packets, got %d", 199*2+1<<16, len(lines))
	}
	for i, line := range lines {
		if got := strings.Fields(line); slices.Contains(got, "0") || !slices.Contains(got, "1") {
			t.Fatalf("packet %d: want good checksums (1), got %q", i+1, line)
		}
	}
}

func TestASnapLenKeepsTheBeginningAndTheChecksum(t *testing.T) {
	whole := newRecorder(t, Options{To: relay4})
	short := newRecorder(t, Options{To: relay4, SnapLen: 60})
	batch := from(origin4, strings.Repeat("payload", 30), "short")
	whole.Deliver(batch)
	short.Deliver(batch)
	fields := []string{"-T", "fields", "-e", "frame.cap_len", "-e", "frame.len", "-e", "udp.checksum"}
	all, cut := tshark(t, save(t, drained(t, whole)), fields...), tshark(t, save(t, drained(t, short)), fields...)
	want := []string{strings.Replace(all[0], "238\t", "60\t", 1), all[1]}
	if !slices.Equal(cut, want) {
		t.Errorf("want %q, got %q", want, cut)
	}
}

func TestOnlyWantedPeersAreRecorded(t *testing.T) {
	var peers []Peer
	for _, s := range []string{"198.51.100.7", "[2001:db8::7]:40000", "203.0.113.0/24", "::ffff:192.0.2.128/121"} {
		p, err := ParsePeer(s)
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	r := newRecorder(t, Options{To: relay4, Peers: peers})
	for _, origin := range []string{"198.51.100.7:1", "198.51.100.8:1", "[2001:db8::7]:40000", "[2001:db8::7]:40001", "203.0.113.9:5", "192.0.2.129:1", "192.0.2.1:1", "[fe80::1%2]:7"} {
		r.Deliver(from(netip.MustParseAddrPort(origin), origin))
	}
	want := []string{"198.51.100.7:1", "[2001:db8::7]:40000", "203.0.113.9:5", "192.0.2.129:1"}
	data := drained(t, r)
	if got := played(t, "recording", bytes.NewReader(data)); !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
	ng, err := pcapgo.NewNgReader(bytes.NewReader(data), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	intf, _ := ng.Interface(0)
	if want := "(src host 198.51.100.7) or (src host 2001:db8::7 and src port 40000) or (src net 203.0.113.0/24) or (src net 192.0.2.128/25)"; intf.Filter != want {
		t.Errorf("want the filter %q, got %q", want, intf.Filter)
	}
	if intf.Name != "udprelay" || !strings.Contains(intf.Comment, "from others than those of the filter") {
		t.Errorf("want the description to say what it is and what is left out, got %+v", intf)
	}
}

func TestPeersThatCannotBeUnderstood(t *testing.T) {
	for _, s := range []string{"", "name", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.0/33", "192.0.2.0/24:9000", "::ffff:0.0.0.0/90", "[::1", "1.2.3"} {
		if p, err := ParsePeer(s); err == nil {
			t.Errorf("%q: want an error, got %+v", s, p)
		}
	}
}

func TestDestinations(t *testing.T) {
	wild := netip.MustParseAddrPort("[::]:9000")
	local := func(netip.AddrPort) netip.Addr { return netip.MustParseAddr("192.0.2.99") }
	for _, test := range []struct {
		to     netip.AddrPort
		local  func(netip.AddrPort) netip.Addr
		origin string
		want   string
	}{
		{relay4, local, "198.51.100.7:1", "192.0.2.1:9000"},
		{wild, local, "198.51.100.7:1", "192.0.2.99:9000"},
		{wild, local, "[2001:db8::7]:1", "[::]:9000"}, // it was known by another family's
		{wild, nil, "198.51.100.7:1", "0.0.0.0:9000"},
		{wild, nil, "127.0.0.1:1", "127.0.0.1:9000"},
		{wild, nil, "[::1]:1", "[::1]:9000"},
		{relay6, nil, "198.51.100.7:1", "0.0.0.0:9000"}, // brought by a link
		{relay6, nil, "127.0.0.1:1", "0.0.0.0:9000"},
	} {
		r := newRecorder(t, Options{To: test.to, Local: test.local})
		if got := r.destination(netip.MustParseAddrPort(test.origin)).String(); got != test.want {
			t.Errorf("from %s at %v: want %s, got %s", test.origin, test.to, test.want, got)
		}
	}
}

func TestACountEndsTheRecording(t *testing.T) {
	r := newRecorder(t, Options{To: relay4, Count: 3})
	r.Deliver(from(origin4, "1", "2"))
	r.Deliver(from(origin4, "3", "4"))
	r.Deliver(from(origin4, "5"))
	var file bytes.Buffer
	if err := r.Stream(context.Background(), &file); err != nil { // ends by itself
		t.Fatal(err)
	}
	if got, want := played(t, "recording", &file), []string{"1", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
	if got, want := r.Stats(), (Stats{Passed: 3, Recorded: 3}); got != want {
		t.Errorf("want %+v, got %+v", want, got)
	}
	if err := r.Stream(context.Background(), io.Discard); !errors.Is(err, errStreamed) {
		t.Errorf("second stream: want %v, got %v", errStreamed, err)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for _, o := range []Options{{SnapLen: 47}, {SnapLen: -1}, {Queue: 1000}, {Peers: make([]Peer, 65)}} {
		if _, err := NewRecorder(o); err == nil {
			t.Errorf("%+v: want an error, got none", o)
		}
	}
}
