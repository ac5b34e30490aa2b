package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
)

// decides returns the step that decides, or nothing.
func decides(t *testing.T, steps []Step) (text string) {
	t.Helper()
	for _, s := range steps {
		if s.Name == "" || s.Result == "" || strings.Contains(s.Result, "%!") {
			t.Errorf("want steps with a name and a result; got %+v", steps)
		}
		if s.Decides && text != "" {
			t.Errorf("want one step that decides; got %+v", steps)
		}
		if s.Decides {
			text = s.Name
		}
	}
	return text
}

func TestExplanationSaysWhatWouldHappen(t *testing.T) {
	addr, prefix := netip.MustParseAddrPort, netip.MustParsePrefix
	cookie, secret := rule("203.0.113.0/24", peers.MayBoth), rule("203.0.114.0/24", peers.MayBoth)
	cookie.Join, secret.Join = peers.JoinCookie, peers.JoinSecret
	options := defaults()
	options.Peers.Access = []peers.Rule{
		rule("192.0.2.66", peers.MayNothing), rule("192.0.2.77", peers.MayReceive), rule("192.0.2.78/31", peers.MaySend),
		rule("192.0.2.0/24", peers.MayBoth), cookie, secret, rule("10.0.0.0/8", peers.MayBoth),
	}
	for _, test := range []struct {
		name, addr string
		change     func(r *Relay, o *Options)
		from, to   string // the steps that decide
		fromV, toV string // the verdicts
	}{
		{"would join", "192.0.2.9:1", nil, "", "known peer", "its datagrams would be relayed to 3 peers; with the first it would become a peer", "nothing is sent to it: it is no peer"},
		{"any port", "192.0.2.1:0", nil, "", "known peer", "its datagrams would be relayed to 3 peers; with the first it would become a peer", "there are 2 peers at 192.0.2.1: name the port of one"},
		{"peer", "192.0.2.1:1", nil, "", "", "its datagrams would be relayed to 2 peers", "the datagrams of others are sent to it"},
		{"mapped", "[::ffff:192.0.2.1]:1", nil, "", "", "its datagrams would be relayed to 2 peers", "the datagrams of others are sent to it"},
		{"may nothing", "192.0.2.66:1", nil, "access[0] from 192.0.2.66 may nothing join open", "known peer", "refused: access[0] from 192.0.2.66 matches: it may do nothing", "nothing is sent to it: it is no peer"},
		{"no rule", "8.8.8.8:1", nil, "access", "known peer", "refused: no rule covers 8.8.8.8", "nothing is sent to it: it is no peer"},
		{"may receive", "192.0.2.77:1", nil, "may send", "", "not relayed: it may only receive", "the datagrams of others are sent to it"},
		{"sender", "192.0.2.78:2", nil, "", "may receive", "its datagrams would be relayed to 3 peers", "nothing is sent to it: it may only send"},
		{"sender, any port", "192.0.2.78:0", nil, "", "may receive", "its datagrams would be relayed to 3 peers", "nothing is sent to it: it may only send"},
		{"sender and a peer", "192.0.2.78:0", func(r *Relay, _ *Options) { r.SetStatic([]netip.AddrPort{addr("192.0.2.78:514")}) },
			"", "may receive", "its datagrams would be relayed to 4 peers", "nothing is sent to it: it may only send; there is 1 peer at 192.0.2.78: name its port"},
		{"sender in a full table", "192.0.2.79:1", func(_ *Relay, o *Options) { o.Peers.Max = 3 }, "", "known peer", "its datagrams would be relayed to 3 peers", "nothing is sent to it: it is no peer"},
		{"sender over its limit", "192.0.2.78:2", func(r *Relay, o *Options) {
			o.Limits.PeerDatagrams = 10
			r.table.Origin(addr("192.0.2.78:1")).Path.Datagrams.Take(10, 100, r.since(time.Now().Add(time.Hour)))
		}, "limit of its datagrams", "may receive", "not relayed: 10 in a second are used up (per peer)", "nothing is sent to it: it may only send"},
		{"sender from a port that answers anything", "192.0.2.78:7", nil, "never a peer", "known peer", "refused, for it can never be a peer: a service at port 7 answers anything, which begins a loop; it can be static", "nothing is sent to it: it is no peer"},
		{"may send", "192.0.2.78:1", nil, "", "may receive", "its datagrams would be relayed to 3 peers", "nothing is sent to it: it may only send"},
		{"cookie", "203.0.113.1:1", nil, "proof", "known peer", "not relayed until it has proved itself: access[4] from 203.0.113.0/24 asks for a cookie", "nothing is sent to it: it is no peer"},
		{"secret", "203.0.114.1:1", nil, "proof", "known peer", "not relayed until it has proved itself: access[5] from 203.0.114.0/24 asks for a cookie and the secret", "nothing is sent to it: it is no peer"},
		{"multicast", "224.0.0.1:1", nil, "never a peer", "known peer", "refused, for it can never be a peer: the address is a multicast group", "nothing is sent to it: it is no peer"},
		{"echo", "192.0.2.1:7", nil, "never a peer", "known peer", "refused, for it can never be a peer: a service at port 7 answers anything, which begins a loop; it can be static", "nothing is sent to it: it is no peer"},
		{"banned", "10.0.0.1:1", func(r *Relay, _ *Options) { r.Peers().Ban(prefix("10.0.0.0/8"), time.Time{}, "noise", time.Now()) },
			"ban", "known peer", "refused: 10.0.0.0/8 is banned: noise", "nothing is sent to it: it is no peer"},
		{"banned and static", "10.0.0.2:1", func(r *Relay, _ *Options) {
			r.Peers().Ban(prefix("10.0.0.0/8"), time.Time{}, "noise", time.Now())
			r.SetStatic([]netip.AddrPort{addr("10.0.0.2:1")})
		}, "may send", "may receive", "not relayed: it is static and banned", "nothing is sent to it: it is banned"},
		{"table full", "192.0.2.9:1", func(_ *Relay, o *Options) { o.Peers.Max = 3 }, "places", "known peer", "refused: the table of peers is full: 3 of 3 taken: none is left", "nothing is sent to it: it is no peer"},
		{"address full", "192.0.2.1:9", func(_ *Relay, o *Options) { o.Peers.MaxPerAddress = 2 }, "places at its address", "known peer", "refused: there are too many peers at its address: 2 of 2 taken: none is left", "nothing is sent to it: it is no peer"},
		{"join rate", "192.0.2.9:1", func(r *Relay, o *Options) {
			o.Peers.JoinsPerSecond = 1
			r.Apply(*o)
			r.Peers().Heard(numbered(100), r.began.Add(time.Hour))
			r.Peers().Kick(func(p *peers.Peer) bool { return p.Addr() == numbered(100) })
		}, "join rate", "known peer", "refused for now: too many join: 1 in a second are reached", "nothing is sent to it: it is no peer"},
		{"limit", "192.0.2.1:1", func(r *Relay, o *Options) {
			o.Limits.PeerDatagrams = 10
			r.table.Lookup(numbered(1)).Path.Datagrams.Take(10, 100, r.since(time.Now().Add(time.Hour)))
		}, "limit of its datagrams", "", "not relayed: 10 in a second are used up (per peer)", "the datagrams of others are sent to it"},
		{"limit of what leaves", "192.0.2.1:1", func(r *Relay, o *Options) {
			o.Limits.EgressBytes = 1000
			r.egress.Take(1000, 10_000, r.since(time.Now().Add(time.Hour)))
		}, "limit of what leaves", "limit of what leaves", "not relayed: 1000 in a second are used up (bytes)", "nothing is sent to it just now: the limit of what leaves is used up"},
		{"quarantined", "192.0.2.1:1", func(r *Relay, _ *Options) { r.table.Lookup(numbered(1)).Path.HoldUntil.Store(int64(time.Hour)) },
			"", "quarantine", "its datagrams would be relayed to 2 peers", "nothing is sent to it until AN HOUR LATER, or until it is heard: the network says that it cannot be reached"},
		{"others quarantined", "192.0.2.2:1", func(r *Relay, _ *Options) { r.table.Lookup(numbered(1)).Path.HoldUntil.Store(int64(time.Hour)) },
			"", "known peer", "its datagrams would be relayed to 2 peers, but not to 1 that cannot be reached; with the first it would become a peer", "nothing is sent to it: it is no peer"},
		{"link", "192.0.2.1:1", func(r *Relay, _ *Options) { r.Attach(discard{}) }, "", "", "its datagrams would be relayed to 2 peers and handed to 1 link", "the datagrams of others are sent to it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := makeRelay(t, ways[0], on4, options)
			for _, from := range []netip.AddrPort{numbered(1), numbered(2), addr("192.0.2.77:1"), addr("192.0.2.78:1")} {
				r.Peers().Heard(from, time.Now())
			}
			changed := options
			if test.change != nil {
				test.change(r, &changed)
			}
			r.Apply(changed)
			x := r.Explain(addr(test.addr))
			test.toV = strings.ReplaceAll(test.toV, "AN HOUR LATER", r.began.Add(time.Hour).UTC().Format(timeWords))
			if from, to := decides(t, x.From), decides(t, x.To); from != test.from || to != test.to {
				t.Errorf("want %q and %q to decide; got %q and %q: %+v %+v", test.from, test.to, from, to, x.From, x.To)
			}
			if x.FromVerdict != test.fromV || x.ToVerdict != test.toV {
				t.Errorf("want the verdicts\n%q\n%q; got\n%q\n%q", test.fromV, test.toV, x.FromVerdict, x.ToVerdict)
			}
			if x.Relayed != strings.HasPrefix(test.fromV, "its datagrams") || x.Sent != strings.HasPrefix(test.toV, "the datagrams") {
				t.Errorf("want what the verdicts say; got relayed %v, sent %v", x.Relayed, x.Sent)
			}
			if again := r.Explain(addr(test.addr)); fmt.Sprint(again.From, again.To) != fmt.Sprint(x.From, x.To) {
				t.Errorf("want the same when asked again; got\n%+v\n%+v", x, again)
			}
		})
	}
}

// An explanation is no datagram: nothing is used up and nobody is heard.
func TestExplainingChangesNothing(t *testing.T) {
	options := defaults()
	options.Limits = Limits{PeerDatagrams: 2, PeerBytes: 1000, EgressBytes: 1000}
	options.Peers.JoinsPerSecond, options.Peers.JoinsPerSecondPerAddress = 2, 2
	r := makeRelay(t, ways[0], on4, options)
	p, _ := r.Peers().Heard(numbered(1), r.began)
	before := r.Stats()
	for range 100 {
		r.Explain(numbered(1))
		r.Explain(numbered(2))
	}
	if heard, _ := r.Peers().LastHeard(p); !heard.Equal(r.began) || len(r.Peers().Peers()) != 1 || r.Stats() != before || len(r.Recent(numbered(2))) != 0 {
		t.Errorf("want nothing changed; got it heard at %v, %d peers, %s", heard, len(r.Peers().Peers()), show(r.Stats()))
	}
	if _, verdict := r.Peers().Heard(numbered(2), r.began); verdict != peers.Joined {
		t.Errorf("want no join used up; got %q", verdict)
	}
	if left := p.Path.Datagrams.Left(2, 0); left != 2 {
		t.Errorf("want no datagram used up; got %d left", left)
	}
	steps := r.Explain(numbered(1)).From
	if !slices.ContainsFunc(steps, func(s Step) bool {
		return s.Name == "limit of its datagrams" && s.Result == "2 of 2 in a second are left now (per peer)"
	}) {
		t.Errorf("want the limit and what is left of it; got %+v", steps)
	}
}

func TestExplanationListsTheFirstPeersAtTheAddress(t *testing.T) {
	r := makeRelay(t, ways[0], on4, defaults())
	for port := range uint16(40) {
		r.Peers().Heard(numbered(100+port), time.Now())
	}
	x := r.Explain(numbered(0))
	if x.OthersCount != 40 || len(x.Others) != mostOthers || x.Others[0] != numbered(100) || x.Peer != nil {
		t.Errorf("want 40 peers, the first %d listed; got %d, %v", mostOthers, x.OthersCount, x.Others)
	}
	if x = r.Explain(numbered(105)); x.OthersCount != 39 || slices.Contains(x.Others, numbered(105)) || x.Peer.Addr() != numbered(105) {
		t.Errorf("want the peer and 39 others; got %d, %v", x.OthersCount, x.Others)
	}
}

func TestStatesOfPeers(t *testing.T) {
	r := makeRelay(t, ways[0], on4, defaults())
	p, _ := r.Peers().Heard(numbered(1), time.Now())
	wants := func(want PeerState) {
		t.Helper()
		if got := r.PeerState(p); got != want {
			t.Errorf("want the state %v until %v; got %v until %v", want.State, want.Until, got.State, got.Until)
		}
	}
	wants(PeerState{})
	later := int64(time.Hour)
	p.Path.HoldUntil.Store(later)
	wants(PeerState{StateQuarantined, r.began.Add(time.Hour)})
	r.SetStatic([]netip.AddrPort{p.Addr()})
	until := time.Now().Add(time.Minute)
	r.Peers().Ban(netip.PrefixFrom(p.Addr().Addr(), 32), until, "", time.Now())
	wants(PeerState{StateBanned, until})
	r.Peers().Unban(netip.PrefixFrom(p.Addr().Addr(), 32))
	p.Path.HoldUntil.Store(1) // over
	wants(PeerState{})
	if p.Path.HoldUntil.Load() != 1 {
		t.Error("want who asks to change nothing; the end of the quarantine was taken away")
	}
	var words []string
	for s := StateOK; s <= StateFailing+1; s++ {
		words = append(words, s.String())
	}
	if want := []string{"ok", "banned", "quarantined", "cut", "overloading", "failing", "State(6)"}; !slices.Equal(words, want) {
		t.Errorf("want %v; got %v", want, words)
	}
}

// A peer to which nothing can leave is not well, though nobody holds it back.
func TestAPeerWithoutARouteIsFailing(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		well := newClient(t, r.Addr())
		lost := netip.MustParseAddrPort("192.0.2.1:9000") // not to be reached from the loopback address
		r.SetStatic([]netip.AddrPort{well.addr, lost})
		if state := r.PeerState(r.Peers().Lookup(lost)); state.State != StateOK {
			t.Errorf("want %v as long as nothing was sent, got %v", StateOK, state)
		}
		link := r.Attach(discard{})
		bring(t, link, "text")
		well.wants("text")
		p := r.Peers().Lookup(lost)
		state := r.PeerState(p)
		at, ever := r.LastDrop(p, DropUnreachable)
		if state.State != StateFailing || !ever || !state.Until.Equal(at.Add(failingFor)) {
			t.Errorf("want %v for %v after the drop at %v, got %v", StateFailing, failingFor, at, state)
		}
		if want, got := "the datagrams of others are sent to it, but lately did not leave: this machine has no route to it", r.Explain(lost).ToVerdict; got != want {
			t.Errorf("want %q, got %q", want, got)
		}
		if state := r.PeerState(r.Peers().Lookup(well.addr)); state.State != StateOK {
			t.Errorf("want the other one well, got %v", state)
		}
		// It is forgotten when some time has gone by since the last one.
		p.Path.Counts.Drop(int(DropUnreachable), 1, r.since(time.Now().Add(-failingFor)))
		if state := r.PeerState(p); state.State != StateOK {
			t.Errorf("want %v after %v, got %v", StateOK, failingFor, state)
		}
	})
}
