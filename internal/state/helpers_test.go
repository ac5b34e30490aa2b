package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/banlist"
	"udprelay/peers"
)

// The save of the file that doc.go shows.
var (
	savedAt = moment{time.Date(2026, 11, 22, 21, 40, 7, 250e6, time.UTC), "5c0b6a2e-0d57-4f0c-9d8e-3b7a1f2c4d5e", 86400123 * time.Millisecond}

	shown = &Snapshot{
		Every: 10 * time.Second, Listen: netip.MustParseAddrPort("[::]:9000"),
		Socket: 0x2f01, KernelDrops: 17,
		Secret: "00112233445566778899aabbccddeeff:0123456789abcdef",
		Peers: []Peer{
			{Addr: netip.MustParseAddrPort("192.0.2.7:40000"), Joined: ago(61250), Heard: ago(15)},
			{Addr: netip.MustParseAddrPort("[fe80::2%3]:40000"), Source: netip.MustParseAddr("fe80::1"), Link: 3,
				Proof: peers.JoinSecret, Joined: ago(900), Heard: ago(900)},
		},
		Names: []Name{{"collector.example:2055", netip.MustParseAddrPort("192.0.2.9:2055")}},
		Bans: []Ban{
			{From: netip.MustParsePrefix("198.51.100.0/24"), Since: ago(3_000_000), Until: ago(-600_000), Reason: "too loud"},
			{From: netip.MustParsePrefix("2001:db8:bad::/48"), Since: ago(90_061_001), Shared: true},
		},
		Shared: []banlist.Entry{
			{From: netip.MustParsePrefix("203.0.113.0/24"), At: ago(1000), By: "south", Lifted: true},
			{From: netip.MustParsePrefix("2001:db8:bad::/48"), At: ago(90_061_001), By: "north"},
		},
	}
)

func ago(milliseconds int) time.Time {
	return savedAt.wall.Add(-time.Duration(milliseconds) * time.Millisecond)
}

// later returns the moment d after m, by all clocks.
func (m moment) later(d time.Duration) moment { return moment{m.wall.Add(d), m.boot, m.up + d} }

// encoded returns the file of s.
func encoded(t testing.TB, s *Snapshot, at moment) []byte {
	t.Helper()
	data, err := appendSnapshot(nil, s, at)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// manyPeers returns a snapshot of n peers of all kinds.
func manyPeers(n int, now time.Time) *Snapshot {
	random := rand.New(rand.NewPCG(1, 2))
	s := &Snapshot{Every: DefaultEvery, Listen: netip.MustParseAddrPort("[::]:9000"), Socket: 1<<32 + 7, KernelDrops: 1<<32 - 7, Secret: Fingerprint([]byte("secret"))}
	for i := range n {
		heard := time.Duration(random.Int64N(60_000)) * time.Millisecond
		p := Peer{Proof: peers.Join(i % 3), Heard: now.Add(-heard), Joined: now.Add(-heard - time.Duration(i)*time.Second)}
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		p.Source = netip.AddrFrom4([4]byte{192, 0, 2, 1})
		if i%2 == 1 {
			ip = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
			p.Source = netip.MustParseAddr("2001:db8::1")
		}
		p.Addr = netip.AddrPortFrom(ip, uint16(random.IntN(65535)+1))
		s.Peers = append(s.Peers, p)
	}
	return s
}

// likeNetip compares addresses, and snapshots but for what Load tells.
var likeNetip = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.FilterPath(func(p cmp.Path) bool {
		name := p.Last().String()
		return name == ".Saved" || name == ".Away" || name == ".SameBoot"
	}, cmp.Ignore()),
}

func wantSame(t testing.TB, want, got *Snapshot) {
	t.Helper()
	if diff := cmp.Diff(want, got, likeNetip); diff != "" {
		t.Fatalf("snapshot (-want +got):\n%s", diff)
	}
}

// wantFile checks what is in the file name.
func wantFile(t testing.TB, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Fatalf("want %s to be\n%q\ngot\n%q", name, want, got)
	}
}

// wantFiles checks which files are in a directory.
func wantFiles(t testing.TB, directory string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("want the files %v in the directory, got %v", want, got)
	}
}

func wantError(t testing.TB, err error, want, hint string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Fatalf("want the error %q, got %v", want, err)
	}
	hinter := (interface{ Hint() string })(nil)
	if !errors.As(err, &hinter) || hinter.Hint() != hint {
		t.Fatalf("want the hint %q of %#v", hint, err)
	}
}
