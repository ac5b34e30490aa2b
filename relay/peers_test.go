package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testlog"
	"udprelay/peers"
)

// ruled returns options by which 127.0.0.2 may only receive, 127.0.0.3 only
// send, 127.0.0.4 nothing, and everyone else both.
func ruled() Options {
	options := defaults()
	options.Peers.Access = append([]peers.Rule{
		rule("127.0.0.2", peers.MayReceive), rule("127.0.0.3", peers.MaySend), rule("127.0.0.4", peers.MayNothing),
	}, options.Peers.Access...)
	return options
}

func TestRulesDecideWhoHearsWhom(t *testing.T) {
	needLoopback(t)
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, onAll4, ruled())
		clientAt := func(host string) *client {
			return newClientAt(t, netip.AddrPortFrom(netip.MustParseAddr(host), 0), at(r, "127.0.0.1"))
		}
		one, two := clientAt("127.0.0.1"), clientAt("127.0.0.1")
		listener, speaker, refused := clientAt("127.0.0.2"), clientAt("127.0.0.3"), clientAt("127.0.0.4")
		for _, c := range []*client{one, two, listener, speaker} {
			c.join(r)
		}
		refused.send("from one who may nothing")
		listener.send("from one who may only receive")
		speaker.send("from one who may only send")
		one.send("from one who may both")
		one.wants("from one who may only send")
		two.wants("from one who may only send", "from one who may both")
		listener.wants("from one who may only send", "from one who may both")
		awaitStats(t, r, "8 received, 4 keep-alives, dropped: rule 1, may_not_send 1; 5 delivered", func(s Stats) bool {
			return s.Received == 8 && s.KeepAlives == 4 && s.Dropped[DropRule] == 1 && s.Dropped[DropMayNotSend] == 1 && s.Delivered == 5
		})
		// The last word: had the speaker been sent anything, it would be counted.
		two.send("the end")
		one.wants("the end")
		listener.wants("the end")
		awaitStats(t, r, "7 delivered", func(s Stats) bool { return s.Delivered == 7 })
	})
}

func TestPeersAreLimited(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Peers.Max = 2
		r := startRelay(t, w, on4, options)
		clients := newPeers(t, r, near(r), 2)
		third := newClient(t, near(r))
		third.send("from one too many")
		awaitStats(t, r, "one dropped as table_full", func(s Stats) bool { return s.Dropped[DropTableFull] == 1 })
		wantsNothingBefore("the end", clients[0], clients[1])
	})
}

func TestStaticPeerReceivesWithoutASayAndIsNoStranger(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Peers.Expiry = time.Nanosecond // of no avail for static peers
		options.Peers.Access = nil             // nobody may join
		r := startRelay(t, w, on4, options)
		static, speaker := newClient(t, near(r)), newClient(t, near(r))
		r.Peers().SetStatic([]netip.AddrPort{static.addr, speaker.addr}, time.Now())
		speaker.send("to a static peer")
		static.wants("to a static peer")
		static.send("by a static peer")
		speaker.wants("by a static peer")
	})
}

func TestSilentPeerExpiresAndCanComeBack(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Peers.Expiry = 100 * time.Millisecond
		log := new(testlog.Log)
		options.Logger = log.Logger()
		r := startRelay(t, w, on4, options)
		silent := newClient(t, near(r))
		silent.send("") // it may be gone before anyone looks
		await(t, func() bool {
			return r.Stats().Received > 0 && r.Peers().Lookup(silent.addr) == nil
		}, "want the silent peer to expire; it does not")

		// It joins again as a new peer, with what it says.
		silent.send("back")
		await(t, func() bool {
			return strings.Count(log.String(), fmt.Sprintf(`msg="peer joined" peer=%v`, silent.addr)) == 2
		}, "want the peer told as joined twice")
		if !log.Has(fmt.Sprintf(`msg="peer expired" peer=%v`, silent.addr)) {
			t.Errorf("want its expiry told; got %s", log)
		}
	})
}

// Only a peer's own datagrams refresh it: what it is sent does not.
func TestWhatAPeerIsSentDoesNotRefreshIt(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Peers.Expiry = 200 * time.Millisecond
		r := startRelay(t, w, on4, options)
		listener, speaker := newClient(t, near(r)), newClient(t, near(r))
		listener.send("")
		await(t, func() bool {
			speaker.send("to a listener")
			return r.Stats().Delivered > 0 && r.Peers().Lookup(listener.addr) == nil
		}, "want the listener to expire; it does not")
	})
}

// Reasons are told once at first, then with their sum, at the latest when the
// relay stops.
func TestDropsAreToldOnceAndSummedUp(t *testing.T) {
	needLoopback(t)
	var log bytes.Buffer
	options := ruled()
	options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	options.ReceiveBuffer, options.SendBuffer = 0, 0 // whose limits are said, too, where they bind
	r := makeRelay(t, ways[0], on4, options)
	stop := run(t, r)
	refused := newClientAt(t, netip.MustParseAddrPort("127.0.0.4:0"), near(r))
	for range 100 {
		refused.send("x")
	}
	awaitStats(t, r, "100 dropped by rule", func(s Stats) bool { return s.Dropped[DropRule] == 100 })
	stop()
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	total := 0
	for _, line := range lines {
		var count int
		_, rest, _ := strings.Cut(line, " count=")
		fmt.Sscan(rest, &count)
		total += count
		if !strings.Contains(line, `level=WARN msg="datagrams dropped" reason=rule`) ||
			!strings.Contains(line, fmt.Sprintf(`peer=%v hint="udprelay why ADDRESS names the rule that refuses these senders (may: nothing), or says that access has none that lets them in"`, refused.addr)) {
			t.Errorf("want a line about the rule; got %s", line)
		}
	}
	if len(lines) > 2 || total != 100 {
		t.Errorf("want at most 2 lines with 100 drops in all; got %d lines, %d drops:\n%s", len(lines), total, &log)
	}
}
