//go:build !nocluster

package cluster

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"udprelay/relay"
)

var origins = []netip.AddrPort{
	{},
	netip.MustParseAddrPort("192.0.2.1:9000"),
	netip.MustParseAddrPort("192.0.2.1:9001"),
	netip.MustParseAddrPort("[2001:db8::1]:9000"),
	netip.MustParseAddrPort("[::ffff:192.0.2.1]:9000"),
	netip.MustParseAddrPort("0.0.0.0:0"),
}

func genDatagram(t *rapid.T) relay.Datagram {
	return relay.Datagram{
		From:    rapid.SampledFrom(origins).Draw(t, "from"),
		Payload: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "payload"),
	}
}

func equal(a, b relay.Datagram) bool { return a.From == b.From && bytes.Equal(a.Payload, b.Payload) }

// pass makes a message of the list and reads it as another node does.
func pass(t interface{ Fatalf(string, ...any) }, m *message, list []relay.Datagram, secret string) (header, []relay.Datagram) {
	for i := range list {
		if !m.add(&list[i]) {
			t.Fatalf("want room for datagram %d of %d", i, len(list))
		}
	}
	id := nodeID{1, 2, 3, 4, 5, 6, 7, 8}
	sealer := newSealer([]byte(secret), "room", id)
	p := bytes.Clone(finish(m.buf, header{kind: kindDatagrams, count: m.count, node: id, number: 77}, sealer))
	m.reset()
	if len(p) > maxMessage {
		t.Fatalf("want at most %d bytes; got %d", maxMessage, len(p))
	}
	h, err := parseHeader(p)
	if err != nil {
		t.Fatalf("parse the header: %v", err)
	}
	body, err := open(p, &h, newSealer([]byte(secret), "room", id))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	got, err := decode(nil, body, h.count)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	return h, got
}

func TestDecodedIsWhatWasEncoded(t *testing.T) {
	for _, secret := range []string{"", "secret"} {
		m := newMessage()
		rapid.Check(t, func(t *rapid.T) {
			list := rapid.SliceOfN(rapid.Custom(genDatagram), 1, 50).Draw(t, "list")
			h, got := pass(t, m, list, secret)
			want := header{kind: kindDatagrams, sealed: secret != "", count: len(list), node: nodeID{1, 2, 3, 4, 5, 6, 7, 8}, number: 77}
			if h != want {
				t.Fatalf("want header %+v; got %+v", want, h)
			}
			if !slices.EqualFunc(got, list, equal) {
				t.Fatalf("want %v; got %v", list, got)
			}
		})
	}
}

func TestLongestDatagramHasRoomInAMessage(t *testing.T) {
	for _, from := range origins {
		list := []relay.Datagram{{From: from, Payload: bytes.Repeat([]byte("x"), maxPayload)}}
		if _, got := pass(t, newMessage(), list, "secret"); !slices.EqualFunc(got, list, equal) {
			t.Errorf("want the longest datagram from %v back; got another", from)
		}
	}
}

func TestZoneIsLeftOut(t *testing.T) {
	list := []relay.Datagram{{From: netip.MustParseAddrPort("[fe80::1%7]:9000"), Payload: []byte("x")}}
	if _, got := pass(t, newMessage(), list, ""); got[0].From != netip.MustParseAddrPort("[fe80::1]:9000") {
		t.Errorf("want [fe80::1]:9000; got %v", got[0].From)
	}
}

// A message of each field and tag, byte by byte.
const oneOfEach = "UDR\x01" + "\x01" + "\x00" + "\x00\x04" + "NODENODE" + "\x00\x00\x00\x00\x00\x00\x00\x07" +
	"\x04\xc0\x00\x02\x01\x23\x28\x00\x01a" + "\x00\x00\x02bc" + "\x01\x00\x01d" +
	"\x06\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x23\x28\x00\x01e"

func TestFormIsAsDocumented(t *testing.T) {
	m := newMessage()
	for _, d := range []relay.Datagram{
		{From: origins[1], Payload: []byte("a")}, {From: origins[1], Payload: []byte("bc")},
		{Payload: []byte("d")}, {From: origins[3], Payload: []byte("e")},
	} {
		m.add(&d)
	}
	got := finish(m.buf, header{kind: kindDatagrams, count: m.count, node: nodeID([]byte("NODENODE")), number: 7}, nil)
	if string(got) != oneOfEach {
		t.Errorf("want %q; got %q", oneOfEach, got)
	}
}

func TestHeadersThatAreRefused(t *testing.T) {
	change := func(at int, to string) string { return oneOfEach[:at] + to + oneOfEach[at+len(to):] }
	for _, test := range []struct {
		name, message string
		want          error
	}{
		{"as it should be", oneOfEach, nil},
		{"empty", "", errMalformed},
		{"of another program", change(0, "HTTP"), errMalformed},
		{"version 0", change(3, "\x00"), errVersion},
		{"version 2", change(3, "\x02"), errVersion},
		{"version 2, shorter", "UDR\x02", errVersion},
		{"cut in the magic", "UDR", errMalformed},
		{"cut in the header", oneOfEach[:headerBytes-1], errMalformed},
		{"unknown flags", change(5, "\x02"), errMalformed},
		{"sealed, without a tag", change(5, "\x01")[:headerBytes+sealBytes-1], errMalformed},
		{"number 0", change(16, strings.Repeat("\x00", 8)), errMalformed},
		{"number too great", change(16, strings.Repeat("\xff", 8)), errMalformed},
		{"too long", oneOfEach + strings.Repeat("x", maxMessage), errMalformed},
	} {
		if _, err := parseHeader([]byte(test.message)); err != test.want {
			t.Errorf("%s: want %v; got %v", test.name, test.want, err)
		}
	}
}

// Each prefix, and each body with a count that is not its own, is refused.
func TestBodiesThatAreRefused(t *testing.T) {
	body := []byte(oneOfEach[headerBytes:])
	for n := range body {
		if got, err := decode(nil, body[:n], 4); err == nil || len(got) != 0 {
			t.Errorf("want the first %d bytes refused; got %v", n, got)
		}
	}
	for _, count := range []int{0, 3, 5, 65535} {
		if _, err := decode(nil, body, count); err == nil {
			t.Errorf("want a count of %d refused", count)
		}
	}
	for name, body := range map[string]string{
		"origin of none before": "\x00\x00\x01a", "unknown tag": "\x02\x00\x01a", "no payload": "\x01\x00\x00", "nothing": "",
	} {
		if _, err := decode(nil, []byte(body), 1); err == nil {
			t.Errorf("%s: want it refused", name)
		}
	}
}

func TestSealedMessageThatWasChangedIsRefused(t *testing.T) {
	id := nodeID{9}
	seal := func() []byte {
		return finish([]byte(oneOfEach), header{kind: kindDatagrams, count: 4, node: id, number: 7}, newSealer([]byte("secret"), "room", id))
	}
	opens := func(p []byte, sealerOf func(nodeID) (secret, room string)) bool {
		h, err := parseHeader(p)
		if err != nil {
			return false
		}
		secret, room := sealerOf(h.node)
		_, err = open(p, &h, newSealer([]byte(secret), room, h.node))
		return err == nil
	}
	right := func(nodeID) (string, string) { return "secret", "room" }
	if !opens(seal(), right) {
		t.Fatal("want a message that was not changed opened")
	}
	for i := range seal() {
		p := seal()
		p[i] ^= 1
		if opens(p, right) {
			t.Errorf("want a message with byte %d changed refused", i)
		}
	}
	for _, wrong := range [][2]string{{"other", "room"}, {"secret", "hall"}, {"", "room"}} {
		if opens(seal(), func(nodeID) (string, string) { return wrong[0], wrong[1] }) {
			t.Errorf("want it refused with secret %q and room %q", wrong[0], wrong[1])
		}
	}
	if opens([]byte(oneOfEach), right) {
		t.Error("want a message that is not sealed refused where there is a secret")
	}
}

// What is taken for a message has the meaning of one: encoded again, it is read
// the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(oneOfEach))
	f.Add([]byte(oneOfEach[:40]))
	f.Add([]byte("UDR\x02"))
	f.Add([]byte{})
	m := newMessage()
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := parseHeader(p)
		if err != nil {
			return
		}
		list, err := decode(nil, p[headerBytes:], h.count)
		if err != nil {
			if len(list) != 0 {
				t.Fatalf("want nothing with an error; got %v", list)
			}
			return
		}
		if len(list) != h.count {
			t.Fatalf("want %d datagrams; got %d", h.count, len(list))
		}
		for i := range list {
			if len(list[i].Payload) == 0 {
				t.Fatal("want no empty datagrams")
			}
			if !m.add(&list[i]) { // the same origin told of twice takes more room there
				m.reset()
				return
			}
		}
		again, err := decode(nil, m.buf[headerBytes:], m.count)
		m.reset()
		if err != nil || !slices.EqualFunc(again, list, equal) {
			t.Fatalf("want %v; got %v, %v", list, again, err)
		}
	})
}
