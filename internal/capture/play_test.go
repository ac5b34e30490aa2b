package capture

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udprelay/relay"
)

// pcap returns a file of libpcap's first format, with a time in microseconds
// for each packet.
func pcap(order binary.AppendByteOrder, link uint32, packets ...[]byte) []byte {
	file := order.AppendUint32(nil, 0xa1b2c3d4)
	file = order.AppendUint16(file, 2)
	file = order.AppendUint16(file, 4)
	file = append(file, make([]byte, 8)...)
	file = order.AppendUint32(file, 65535)
	file = order.AppendUint32(file, link)
	for i, p := range packets {
		file = order.AppendUint32(file, 1700000000)
		file = order.AppendUint32(file, uint32(i))
		file = order.AppendUint32(file, uint32(len(p)))
		file = order.AppendUint32(file, uint32(len(p)))
		file = append(file, p...)
	}
	return file
}

// udp4 and udp6 return packets with the payload and what stands before it.
func udp4(before, payload string) []byte { return udpOf(origin4, relay4, before, payload) }
func udp6(before, payload string) []byte { return udpOf(origin6, relay6, before, payload) }

func udpOf(from, to netip.AddrPort, before, payload string) []byte {
	p := make([]byte, mostHeaders)
	n := putHeaders(p, from, to, len(payload), onesSum([]byte(payload)))
	return slices.Concat([]byte(before), p[:n], []byte(payload))
}

const mac = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"

func TestLinkTypes(t *testing.T) {
	fragment, first := udp4("", "x"), udp4("", "x")
	fragment[7], first[6] = 5, 0x20
	truncated := udp4("", "0123456789")
	truncated[3], truncated[25] = 200, 180
	for name, test := range map[string]struct {
		link   uint32
		packet []byte
		want   Skip
	}{
		"raw 4":                 {101, udp4("", "x"), kept},
		"raw 6":                 {101, udp6("", "x"), kept},
		"raw of BSD":            {12, udp6("", "x"), kept},
		"only IPv4":             {228, udp4("", "x"), kept},
		"only IPv6":             {229, udp6("", "x"), kept},
		"Ethernet 4":            {1, udp4(mac+"\x08\x00", "x"), kept},
		"Ethernet 6":            {1, udp6(mac+"\x86\xdd", "x"), kept},
		"Ethernet, padded":      {1, append(udp4(mac+"\x08\x00", "x"), make([]byte, 20)...), kept},
		"VLAN":                  {1, udp4(mac+"\x81\x00\x00\x05\x08\x00", "x"), kept},
		"QinQ":                  {1, udp6(mac+"\x88\xa8\x00\x05\x81\x00\x00\x07\x86\xdd", "x"), kept},
		"cooked":                {113, udp4("\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", "x"), kept},
		"cooked 2":              {276, udp6("\x86\xdd\x00\x00\x00\x00\x00\x01\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00", "x"), kept},
		"null, little":          {0, udp4("\x02\x00\x00\x00", "x"), kept},
		"null, big, 6":          {0, udp6("\x00\x00\x00\x1e", "x"), kept},
		"loop":                  {108, udp4("\x00\x00\x00\x02", "x"), kept},
		"ARP":                   {1, []byte(mac + "\x08\x06" + strings.Repeat("\x00", 28)), SkipNotUDP},
		"TCP":                   {101, append(append([]byte{}, udp4("", "x")[:9]...), append([]byte{6}, udp4("", "x")[10:]...)...), SkipNotUDP},
		"a fragment":            {101, fragment, SkipFragment},
		"the first fragment":    {101, first, SkipFragment},
		"shorter than it says":  {101, truncated, SkipMalformed},
		"nothing":               {101, nil, SkipMalformed},
		"802.11":                {105, udp4("", "x"), SkipLinkType},
		"extensions":            {101, extended(0, 60), kept},
		"fragment of one":       {101, extended(44), kept},
		"an unknown extension":  {101, extended(135), SkipNotUDP},
		"authenticated, IPv6":   {101, extended(51), kept},
		"no room for a UDP one": {101, udp4("", "")[:24], SkipMalformed},
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			m := newMemory()
			got, err := playerOf(pcap(order, test.link, test.packet), m).Play(t.Context())
			if test.want == kept {
				if err != nil || got.Sent != 1 || !slices.Equal(m.sent, []string{"x"}) {
					t.Errorf("%s: want it sent, got %+v, %v, %q", name, got, err, m.sent)
				}
			} else if !errors.Is(err, ErrNothing) || got.Skipped[test.want] != 1 || got.Packets != 1 {
				t.Errorf("%s: want it skipped as %v, got %+v, %v", name, test.want, got, err)
			}
		}
	}
}

// extended returns a packet of IPv6 with extension headers of 8 bytes.
func extended(headers ...byte) []byte {
	p := udp6("", "x")
	var between []byte
	for i, kind := range headers {
		next := byte(protocolUDP)
		if i+1 < len(headers) {
			next = headers[i+1]
		}
		between = append(between, next, 0, 0, 0, 0, 0, 0, 0)
		if kind == 51 { // counts in units of 4 bytes, without 2
			between[len(between)-7] = 0
		}
	}
	p[6] = headers[0]
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ip6Header+len(between)))
	return slices.Concat(p[:ip6Header], between, p[ip6Header:])
}

func TestPacketsCutShortAreSkipped(t *testing.T) {
	r := newRecorder(t, Options{To: relay4, SnapLen: 60})
	r.Deliver(from(origin4, strings.Repeat("x", 100), "whole"))
	m := newMemory()
	got, err := playerOf(drained(t, r), m).Play(t.Context())
	if err != nil || got.Sent != 1 || got.Skipped[SkipTruncated] != 1 || m.sent[0] != "whole" {
		t.Errorf("want one sent and one skipped, got %+v, %v", got, err)
	}
}

func TestEmptyPayloadsAndCompression(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(pcap(binary.LittleEndian, 101, udp4("", ""), udp6("", "x"), udp4("", "")))
	w.Close()
	m := newMemory()
	got, err := playerOf(zipped.Bytes(), m).Play(t.Context())
	if err != nil || got.Sent != 3 || !slices.Equal(m.sent, []string{"", "x", ""}) {
		t.Errorf("want empty, x, empty, got %+v, %v, %q", got, err, m.sent)
	}
}

func TestPlayingEndsWhereTheFileIsBad(t *testing.T) {
	ng := recording(t, "1", "2", "the third")
	for name, test := range map[string]struct {
		data []byte
		sent uint64
		want string
	}{
		"cut pcap":          {pcap(binary.LittleEndian, 101, udp4("", "1"), udp4("", "2"))[:24+2*16+29+1], 1, "test.pcapng: packet 2, at byte 69: the file ends in the middle of it"},
		"cut at a header":   {pcap(binary.LittleEndian, 101, udp4("", "1"), udp4("", "2"))[:24+16+29+3], 1, "test.pcapng: packet 2, at byte 69: the file ends in the middle of it"},
		"cut behind one":    {pcap(binary.LittleEndian, 101, udp4("", "1"), udp4("", "2"))[:24+2*16+29], 1, "test.pcapng: packet 2, at byte 69: the file ends in the middle of it"},
		"cut pcapng":        {ng[:bytes.LastIndex(ng, []byte("the third"))], 2, fmt.Sprintf("test.pcapng: packet 3, at byte %d: the file ends in the middle of it", bytes.LastIndex(ng, []byte("the third"))-56)},
		"empty":             {nil, 0, "test.pcapng: neither a pcap nor a pcapng file"},
		"text":              {[]byte("hello, world"), 0, "test.pcapng: neither a pcap nor a pcapng file"},
		"half a header":     {pcap(binary.LittleEndian, 101)[:20], 0, "test.pcapng: neither a pcap nor a pcapng file"},
		"nothing in it":     {pcap(binary.LittleEndian, 101), 0, "test.pcapng: there is no UDP datagram to send"},
		"a wrong length":    {pcap(binary.LittleEndian, 101, make([]byte, 300<<10)), 0, "test.pcapng: packet 1, at byte 24: capture length exceeds snap length: 307200 > 262144"},
		"a wrong interface": {bytes.Replace(ng, []byte("\x06\x00\x00\x00\x40\x00\x00\x00\x00"), []byte("\x06\x00\x00\x00\x40\x00\x00\x00\x07"), 1), 0, fmt.Sprintf("test.pcapng: packet 1, at byte %d: it is of interface 7, and the section has described 1", bytes.Index(ng, []byte("\x06\x00\x00\x00\x40\x00\x00\x00\x00")))},
	} {
		m := newMemory()
		got, err := playerOf(test.data, m).Play(t.Context())
		if err == nil || err.Error() != test.want || got.Sent != test.sent {
			t.Errorf("%s: want %d sent and %q, got %+v, %v", name, test.sent, test.want, got, err)
		}
	}
}

func TestFiltersCountsAndPasses(t *testing.T) {
	r := newRecorder(t, Options{To: relay4})
	other := netip.MustParseAddrPort("198.51.100.7:5000")
	r.Deliver(slices.Concat(from(origin4, "a", "b"), from(other, "c"), from(origin4, "d")))
	data := drained(t, r)
	for name, test := range map[string]struct {
		set  func(*Player)
		want string
	}{
		"all":              {func(*Player) {}, "abcd"},
		"from a port":      {func(p *Player) { p.FromPorts = []uint16{7, 5000} }, "c"},
		"to a port":        {func(p *Player) { p.ToPorts = []uint16{9000} }, "abcd"},
		"to another port":  {func(p *Player) { p.ToPorts = []uint16{9001} }, ""},
		"twice":            {func(p *Player) { p.Passes = 2 }, "abcdabcd"},
		"count":            {func(p *Player) { p.Count = 3 }, "abc"},
		"count, for ever":  {func(p *Player) { p.Count, p.Passes = 6, 0 }, "abcdab"},
		"nothing for ever": {func(p *Player) { p.ToPorts, p.Passes = []uint16{1}, 0 }, ""},
	} {
		m := newMemory()
		p := playerOf(data, m)
		test.set(p)
		got, err := p.Play(t.Context())
		if text := strings.Join(m.sent, ""); text != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: want %q, got %q, %v", name, test.want, text, err)
		}
		sum := got.Sent + got.Failed
		for _, skip := range Skips() {
			sum += got.Skipped[skip]
		}
		if sum != got.Packets {
			t.Errorf("%s: want each packet counted once, got %+v", name, got)
		}
	}
}

func TestASocketForEachSource(t *testing.T) {
	r := newRecorder(t, Options{To: relay4})
	for i := range MaxSources + 5 {
		r.Deliver(from(netip.AddrPortFrom(origin4.Addr(), uint16(1+i)), "x"))
	}
	r.Deliver(from(netip.AddrPortFrom(origin4.Addr(), 1), "again"))
	p := playerOf(drained(t, r), nil)
	p.PerSource = true
	var all []*memory
	p.Dial = func(context.Context) (Sender, error) {
		all = append(all, newMemory())
		return all[len(all)-1], nil
	}
	got, err := p.Play(t.Context())
	if err != nil || got.Sources != MaxSources || got.Sent != MaxSources+1 || got.Skipped[SkipSource] != 5 {
		t.Errorf("want %d sources and 5 skipped, got %+v, %v", MaxSources, got, err)
	}
	if !slices.Equal(all[0].sent, []string{"x", "again"}) {
		t.Errorf("want each source on one socket, got %q", all[0].sent)
	}
}

func TestWhatCannotBeSentIsCounted(t *testing.T) {
	m := newMemory()
	m.fail = errFull
	got, err := playerOf(recording(t, "1", "2"), m).Play(t.Context())
	if err != nil || got.Failed != 2 || got.Sent != 0 || got.FirstErr != errFull {
		t.Errorf("want 2 failed, got %+v, %v", got, err)
	}
}

// TestTheOriginalTiming runs on the clock of a bubble: what it shows is exact.
func TestTheOriginalTiming(t *testing.T) {
	ms := time.Millisecond
	for name, test := range map[string]struct {
		at     []time.Duration // in the file
		speed  float64
		maxGap time.Duration
		passes int
		want   []time.Duration
	}{
		"as it was":       {[]time.Duration{0, 5 * ms, 6 * ms, time.Hour}, 1, 0, 1, []time.Duration{0, 5 * ms, 6 * ms, time.Hour}},
		"twice as fast":   {[]time.Duration{0, 5 * ms, 6 * ms}, 2, 0, 1, []time.Duration{0, 2500 * time.Microsecond, 3 * ms}},
		"slower":          {[]time.Duration{0, 5 * ms}, 0.1, 0, 1, []time.Duration{0, 50 * ms}},
		"at once":         {[]time.Duration{0, 5 * ms, time.Hour}, 0, 0, 1, []time.Duration{0, 0, 0}},
		"bounded gaps":    {[]time.Duration{0, 5 * ms, time.Hour, time.Hour + ms}, 1, time.Second, 1, []time.Duration{0, 5 * ms, 1005 * ms, 1006 * ms}},
		"out of order":    {[]time.Duration{0, 10 * ms, 7 * ms, 12 * ms}, 1, 0, 1, []time.Duration{0, 10 * ms, 10 * ms, 12 * ms}},
		"a clock set":     {[]time.Duration{time.Hour, time.Hour + ms, 0, 5 * ms}, 1, 0, 1, []time.Duration{0, ms, ms, 6 * ms}},
		"passes in a row": {[]time.Duration{0, 10 * ms}, 1, 0, 2, []time.Duration{0, 10 * ms, 10 * ms, 20 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, Options{To: relay4})
			for _, at := range test.at {
				e := entry{payload: 1, stored: 1, from: origin4, at: int64(1_700_000_000*time.Second + at)}
				r.queue.add(&e, []byte("x"))
			}
			r.queue.publish()
			data := drained(t, r)
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				p := playerOf(data, m)
				p.Speed, p.MaxGap, p.Passes = test.speed, test.maxGap, test.passes
				start := time.Now()
				played, err := p.Play(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var got []time.Duration
				for _, at := range m.at {
					got = append(got, at.Sub(start))
				}
				if !slices.Equal(got, test.want) || played.Late > test.at[len(test.at)-1] {
					t.Errorf("want %v, got %v", test.want, got)
				}
			})
		})
	}
}

func TestPlayingEndsWhenItIsStopped(t *testing.T) {
	r := newRecorder(t, Options{To: relay4})
	r.queue.add(&entry{payload: 1, stored: 1, from: origin4, at: 0}, []byte("x"))
	r.queue.add(&entry{payload: 1, stored: 1, from: origin4, at: int64(time.Hour)}, []byte("y"))
	r.queue.publish()
	data := drained(t, r)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		m := newMemory()
		p := playerOf(data, m)
		p.Speed = 1
		if got, err := p.Play(ctx); err != nil || got.Sent != 1 {
			t.Errorf("want one sent and no error, got %+v, %v", got, err)
		}
	})
}

var _ relay.Link = (*Recorder)(nil)
