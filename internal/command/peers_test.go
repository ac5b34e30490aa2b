package command

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"udprelay/internal/admin"
)

func TestPeersFitTheWidth(t *testing.T) {
	page := admin.PeerPage{Total: 1234, Matched: 4, Peers: somePeers()}
	for _, width := range []int{0, 40, 80, 120, 200} {
		lines := toldPeers{PeerPage: page, when: noon}.lines(width)
		golden(t, fmt.Sprintf("peers-%d.txt", width), lines)
		for _, line := range lines {
			if width > 0 && len(line) > width {
				t.Errorf("want %d places at most, got %d: %s", width, len(line), line)
			}
		}
	}
}

func TestSendersHaveAStarForTheirPort(t *testing.T) {
	sender := admin.Peer{Address: netip.MustParseAddrPort("192.0.2.7:0"), Sender: true, State: "ok", May: "send"}
	lines := toldPeers{PeerPage: admin.PeerPage{Total: 1, Matched: 1, Peers: []admin.Peer{sender}}, when: noon}.lines(80)
	if !strings.HasPrefix(lines[1], "192.0.2.7:*  ") {
		t.Errorf("want 192.0.2.7:*, got %s", lines[1])
	}
}

// However long the addresses and however narrow the terminal, addresses are
// whole.
func TestAddressesAreNeverCut(t *testing.T) {
	long := netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:65535")
	page := admin.PeerPage{Total: 1, Matched: 1, Peers: []admin.Peer{{Address: long, Name: strings.Repeat("n", 200), State: "quarantined"}}}
	for width := range 300 {
		lines := toldPeers{PeerPage: page, when: noon}.lines(width)
		if !strings.HasPrefix(lines[1], long.String()) {
			t.Errorf("width %d: want the address, got %s", width, lines[1])
		}
		if width >= len(long.String()) && max(len(lines[0]), len(lines[1])) > width {
			t.Errorf("width %d: got %d places: %s", width, len(lines[1]), lines[1])
		}
	}
}

func TestTheLastLineSaysHowManyThereAre(t *testing.T) {
	for _, test := range []struct {
		shown, matched, total int
		want                  string
	}{
		{0, 0, 0, "0 of 0 peers"},
		{0, 0, 7, "0 of 7 peers"},
		{12, 12, 1234, "12 of 1,234 peers"},
		{12, 1234, 1234, "12 of 1,234 peers"},
		{12, 1000, 1234, "12 of 1,000 that match, of 1,234 peers"},
	} {
		lines := toldPeers{PeerPage: admin.PeerPage{Total: test.total, Matched: test.matched, Peers: make([]admin.Peer, test.shown)}, when: noon}.lines(80)
		if got := lines[len(lines)-1]; got != test.want || len(lines) != test.shown+2 {
			t.Errorf("want %q after %d lines, got %q after %d", test.want, test.shown+1, got, len(lines)-1)
		}
	}
}

// crowd returns so many learned peers, none of which was ever heard.
func crowd(count int) []*admin.Peer {
	var peers []*admin.Peer
	for i := range count {
		peers = append(peers, &admin.Peer{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 9000),
			May:     "both", JoinedBy: "open", Joined: *before(0), State: []string{"ok", "silent"}[i%2], Received: uint64(i), Static: i%10 == 0,
			Dropped: map[string]uint64{},
		})
	}
	return peers
}

func TestPeersComeInAsManyPagesAsItTakes(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	all := crowd(2500)
	r := &relayOf{peers: all}
	stand(t, socket, r)
	for _, test := range []struct {
		args                  string
		shown, matched, pages int
		first                 string
	}{
		{"", 50, 2500, 1, "10.0.0.0:9000"},
		{"--limit 0", 2500, 2500, 3, "10.0.0.0:9000"},
		{"--limit 1000", 1000, 2500, 1, "10.0.0.0:9000"},
		{"--limit 1001", 1001, 2500, 2, "10.0.0.0:9000"},
		{"--limit 9999 --sort -received", 2500, 2500, 3, "10.0.9.195:9000"},
		{"--state silent --limit 0", 1250, 1250, 2, "10.0.0.1:9000"},
		{"--kind static --search 10.0.9.", 19, 19, 1, "10.0.9.6:9000"},
		{"--search nobody", 0, 0, 1, ""},
	} {
		r.asked.Store(0)
		got := runCommand(t, nil, append([]string{"peers", "--json", "--socket", socket}, strings.Fields(test.args)...)...)
		var page admin.PeerPage
		if err := json.Unmarshal([]byte(got.stdout), &page); err != nil || got.code != 0 || got.stderr != "" || strings.Count(got.stdout, "\n") != 1 {
			t.Fatalf("%s: want one line of JSON, got %v: %+v", test.args, err, got)
		}
		if len(page.Peers) != test.shown || page.Matched != test.matched || page.Total != 2500 || page.Offset != 0 || r.asked.Load() != int64(test.pages) {
			t.Errorf("%s: want %d peers of %d in %d pages, got %d of %d of %d in %d", test.args, test.shown, test.matched, test.pages, len(page.Peers), page.Matched, page.Total, r.asked.Load())
		}
		if test.shown > 0 && page.Peers[0].Address.String() != test.first {
			t.Errorf("%s: want %s first, got %v", test.args, test.first, page.Peers[0].Address)
		}
		if test.shown == 0 && !strings.Contains(got.stdout, `"peers":[]`) {
			t.Errorf("want a list without peers, got %s", got.stdout)
		}
		if test.args == "--limit 0" {
			if diff := cmp.Diff(all, pointers(page.Peers), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
}

func pointers(peers []admin.Peer) (list []*admin.Peer) {
	for i := range peers {
		list = append(list, &peers[i])
	}
	return list
}

func TestPeersAreATable(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := &relayOf{}
	for _, p := range somePeers() {
		p.Joined.Time, p.Heard = time.Now().Add(-150*time.Minute), nil // nothing that a slow test changes
		r.peers = append(r.peers, &p)
	}
	stand(t, socket, r)
	table := func(columns string, args ...string) outcome {
		return runCommand(t, []string{"COLUMNS=" + columns}, append([]string{"peers", "--socket", socket}, args...)...)
	}
	table("66", "--kind", "static", "--sort", "-address").want(t, outcome{0, `ADDRESS              STATE          HEARD   IN/S  OUT/S  DROPS
203.0.113.200:40000  ok             never      0      0      0
192.0.2.1:2055       quarantined    never      0      0  1.51k
2 of 5 peers
`, ""})
	table("50", "--search", "2001:DB8", "--state", "silent").want(t, outcome{0, `ADDRESS              STATE     HEARD   IN/S  OUT/S
[2001:db8::7]:50001  silent    never    5.5    100
1 of 5 peers
`, ""})
	table("50", "--limit", "1", "--kind", "static").want(t, outcome{0, `ADDRESS            STATE         IN/S  OUT/S
192.0.2.1:2055     quarantined      0      0
1 of 2 that match, of 5 peers
`, ""})
	for _, columns := range []string{"", "x", "-1", "0"} { // any width, in a pipe
		if got := table(columns); !strings.Contains(got.stdout, "quarantined 1.50k, no_buffer 3, too_big 3\n") || got.code != 0 {
			t.Errorf("COLUMNS=%s: want all columns, got %+v", columns, got)
		}
	}
}

// One that comes to the front, between two pages, moves the others into the
// next one.
func TestPeersThatMoveBetweenPagesAreNotThereTwice(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	all := crowd(2102)
	stand(t, socket, &relayOf{peers: all[2:], after: func(peers []*admin.Peer) []*admin.Peer {
		return all[max(2102-len(peers)-1, 0):]
	}})
	got := runCommand(t, nil, "peers", "--json", "--limit", "0", "--socket", socket)
	var page admin.PeerPage
	if err := json.Unmarshal([]byte(got.stdout), &page); err != nil {
		t.Fatal(err)
	}
	seen := map[netip.AddrPort]bool{}
	for _, p := range page.Peers {
		if seen[p.Address] {
			t.Errorf("%v is there twice", p.Address)
		}
		seen[p.Address] = true
	}
	if len(seen) != 2100 || page.Total != 2102 {
		t.Errorf("want the 2100 peers that were there at first, of 2102, got %d of %d", len(seen), page.Total)
	}
}
