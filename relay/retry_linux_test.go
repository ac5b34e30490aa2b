package relay

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"udprelay/internal/nettest"
)

// A retry is one datagram, and no more follow it at once.
func TestRetryIsOneDatagram(t *testing.T) {
	s, kernel := newFakeSender(t, false)
	room := newRoom(false, 2)
	p, other := room.peers[0], room.peers[1]
	p.Path.HoldUntil.Store(int64(time.Hour) &^ onTrial)
	var want []string
	for _, step := range []struct {
		at   time.Duration
		sent int // of 20 datagrams
	}{
		{time.Hour - 1, 0},
		{time.Hour + time.Minute, 1},
		{time.Hour + time.Minute + trialTime/2, 0},
		{time.Hour + time.Minute + 2*trialTime, len(train20)},
		{time.Hour + time.Minute + 3*trialTime, len(train20)},
	} {
		b := fromALink(train20)
		b.at, b.sent = int64(step.at), newSentLog()
		var counts tally
		if err := s.send(b, everyone(room.table.Receivers()), &counts); err != nil {
			t.Fatal(err)
		}
		want = append(want, train20[:step.sent]...)
		kernel.checkGot(p, want, step.at.String())
		dropped := map[Drop]int{}
		if n := len(train20) - step.sent; n > 0 {
			dropped[DropQuarantined] = n
		}
		checkCounts(t, &counts, len(train20)+step.sent, dropped)
	}
	if got := len(kernel.payloads(other)); got != 5*len(train20) {
		t.Errorf("want all %d datagrams at the other peer; got %d", 5*len(train20), got)
	}
}

// Learned peers whose machines are gone are tried again and again, which must not
// fill the send buffer: what waits for a neighbour does so for three seconds.
func TestRetriesOfDeadLearnedPeersCostTheLivingNothing(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	// The kernel tells of 50 datagrams at once, of all neighbours together.
	os.WriteFile("/proc/sys/net/ipv4/icmp_msgs_burst", []byte("100000"), 0)
	os.WriteFile("/proc/sys/net/ipv4/icmp_msgs_per_sec", []byte("100000"), 0)
	options := defaults()
	options.SendBuffer = 208 << 10 // the system's own
	r := startRelay(t, ways[0], onAll, options)
	live := room16(t, other.client(t, "10.77.0.11", at(r, "10.77.0.1")))
	live.join(r)
	const dead = 100
	var gone []netip.AddrPort
	for n := range dead {
		addr := netip.MustParseAddrPort(fmt.Sprintf("10.77.0.%d:9000", 50+n))
		if p, _ := r.Peers().Heard(addr, r.began); p == nil {
			t.Fatalf("want %v to be a peer; it is none", addr)
		}
		gone = append(gone, addr)
	}
	link := r.Attach(discard{})
	defer link.Detach()
	tries := func(least int64) (all bool) {
		for _, addr := range gone {
			if r.PeerStats(r.Peers().Lookup(addr)).Reported[ReportUnreachable] < uint64(least) {
				return false
			}
		}
		return true
	}
	bring(t, link, "is anybody there?") // few at first, so that it is about retries
	live.wants("is anybody there?")
	await(t, func() bool { return tries(1) }, "want all dead peers reported; they are not")
	// Bursts that would fill the buffer if one went to each of them.
	n := 0
	await(t, func() bool {
		var texts []string
		for range 40 {
			texts = append(texts, mark(n, 1200)+strings.Repeat("x", 200))
			n++
		}
		bring(t, link, texts...)
		live.wants(texts...)
		time.Sleep(20 * time.Millisecond)
		return tries(3)
	}, "want all dead peers tried again twice; they are not")
	s := r.Stats()
	t.Logf("%d datagrams in bursts; %s", n, show(s))
	if s.Dropped[DropNoBuffer] != 0 {
		t.Errorf("want nothing dropped for want of room; got %s", show(s))
	}
	for _, addr := range gone {
		if sent := r.PeerStats(r.Peers().Lookup(addr)).Delivered; sent > 20 {
			t.Errorf("want no more than 20 datagrams sent to %v; got %d", addr, sent)
		}
	}
}
