package peers_test

import (
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

// wantConnected connects from and returns the peer, and how often it was told
// that it is gone.
func wantConnected(t testing.TB, table *peers.Table, from string, now time.Time, proof peers.Join, want peers.Verdict) (*peers.Peer, *int) {
	t.Helper()
	gone := new(int)
	p, got, _ := table.Connect(addr(from), peers.TCP, now, proof, func() { *gone++ })
	if got != want || got.Refused() != (p == nil) {
		t.Fatalf("Connect(%s): want %q, got %q and %v", from, want, got, p)
	}
	if p != nil && (p.Addr() != addr(from) || p.Transport() != peers.TCP || !p.Connected() || p.Static()) {
		t.Fatalf("Connect(%s): want a learned peer by tcp, got %v by %v", from, p.Addr(), p.Transport())
	}
	return p, gone
}

func wantGone(t testing.TB, what string, gone *int, want int) {
	t.Helper()
	if *gone != want {
		t.Errorf("%s: want it told %d times that it is gone, got %d", what, want, *gone)
	}
}

func TestConnectedPeersAreInTheListButNotFoundByAddress(t *testing.T) {
	table := openTable(0, 0)
	udp := wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	p, gone := wantConnected(t, table, "192.0.2.1:1", at(0), peers.JoinOpen, peers.Joined)
	if p.Number() <= udp.Number() || p.Proof() != peers.JoinCookie || p.May() != peers.MayBoth {
		t.Errorf("want a later peer whose address is proved, got number %d, %v, %v", p.Number(), p.Proof(), p.May())
	}
	if table.Lookup(p.Addr()) != udp {
		t.Error("want the UDP peer found by the address, got another")
	}
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1", "192.0.2.1:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")
	if table.Receivers()[0] != udp {
		t.Error("want the UDP peer among the receivers, got the connected one")
	}
	if learned, static := table.Counts(); learned != 2 || static != 0 {
		t.Errorf("want 2 learned, got %d and %d", learned, static)
	}
	// The one leaves, the other stays.
	if !table.Forget(udp) || table.Lookup(p.Addr()) != nil || len(table.Peers()) != 1 {
		t.Error("want the UDP peer forgotten alone")
	}
	wantGone(t, "the connected one", gone, 0)
	again := wantHeard(t, table, "192.0.2.1:1", at(1), peers.Joined)
	if !table.Forget(p) || table.Forget(p) || table.Lookup(p.Addr()) != again {
		t.Error("want the connected peer forgotten once, and alone")
	}
	wantGone(t, "Forget", gone, 1)
	wantCounts(t, table, 1, 0)
	if joined, left := table.Turnover(); joined != 3 || left != 2 {
		t.Errorf("want 3 joined and 2 gone, got %d and %d", joined, left)
	}
}

func TestConnectedPeersDoNotExpire(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Second, Access: anyBoth, Own: func(netip.AddrPort) bool { return true }}, start)
	p, gone := wantConnected(t, table, "192.0.2.1:7", at(0), peers.JoinOpen, peers.Joined) // whatever the port, and who has the address
	if expired := table.Expire(at(time.Hour)); len(expired) != 0 {
		t.Errorf("want nobody expired, got %v", addrsOf(expired))
	}
	wantGone(t, "Expire", gone, 0)
	table.Refresh(p, at(time.Minute))
	if heard, ever := table.LastHeard(p); !ever || !heard.Equal(at(time.Minute)) {
		t.Errorf("want it heard at %v, got %v, %v", at(time.Minute), heard, ever)
	}
}

func TestConnectIsJudgedAsEveryPeer(t *testing.T) {
	table := peers.New(peers.Options{
		Expiry: time.Minute, Max: 3, MaxPerAddress: 2, JoinsPerSecond: 10,
		Access: []peers.Rule{rule("192.0.2.66", peers.MayNothing), joinRule("192.0.2.77", peers.JoinSecret), rule("192.0.2.88", peers.MayReceive), joinRule("192.0.2.0/24", peers.JoinCookie)},
	}, start)
	if _, err := table.Ban(netip.MustParsePrefix("192.0.2.99/32"), time.Time{}, "", at(0)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from  string
		proof peers.Join
		want  peers.Verdict
		may   peers.Verdict // what MayConnect says before
	}{
		{"198.51.100.1:1", peers.JoinSecret, peers.RefusedByRule, peers.RefusedByRule},
		{"192.0.2.66:1", peers.JoinSecret, peers.RefusedByRule, peers.RefusedByRule},
		{"192.0.2.99:1", peers.JoinSecret, peers.Banned, peers.Banned},
		{"192.0.2.77:1", peers.JoinCookie, peers.NeedsSecret, peers.Joined},
		{"192.0.2.77:1", peers.JoinSecret, peers.Joined, peers.Joined},
		{"192.0.2.1:1", peers.JoinOpen, peers.Joined, peers.Joined}, // the connection proves the address
		{"192.0.2.1:2", peers.JoinOpen, peers.Joined, peers.Joined},
		{"192.0.2.1:3", peers.JoinOpen, peers.TableFull, peers.TableFull},
	} {
		if got := table.MayConnect(addr(c.from).Addr(), at(0)); got != c.may {
			t.Errorf("MayConnect(%s): want %q, got %q", c.from, c.may, got)
		}
		wantConnected(t, table, c.from, at(0), c.proof, c.want)
	}
	table.SetOptions(peers.Options{Expiry: time.Minute, MaxPerAddress: 2, Access: anyBoth})
	wantConnected(t, table, "192.0.2.1:3", at(0), peers.JoinOpen, peers.AddressFull)
	wantHeard(t, table, "192.0.2.1:3", at(0), peers.AddressFull)
	wantCounts(t, table, 3, 0)
}

func TestConnectsAreLimitedByTheRateOfJoins(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: anyBoth, JoinsPerSecond: 2}, start)
	wantConnected(t, table, "192.0.2.1:1", at(0), peers.JoinOpen, peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	wantConnected(t, table, "192.0.2.3:1", at(0), peers.JoinOpen, peers.JoinsTooFast)
	if got := table.MayConnect(addr("192.0.2.3:1").Addr(), at(0)); got != peers.Joined {
		t.Errorf("MayConnect: want the rate left out, got %q", got)
	}
	wantConnected(t, table, "192.0.2.3:1", at(time.Second), peers.JoinOpen, peers.Joined)
}

// Whatever takes a connected peer out tells it once.
func TestConnectedPeersAreToldThatTheyAreGone(t *testing.T) {
	for name, take := range map[string]func(*peers.Table, *peers.Peer) []*peers.Peer{
		"Forget": func(table *peers.Table, p *peers.Peer) []*peers.Peer { table.Forget(p); return []*peers.Peer{p} },
		"Kick": func(table *peers.Table, p *peers.Peer) []*peers.Peer {
			return table.Kick(func(other *peers.Peer) bool { return other == p })
		},
		"Ban": func(table *peers.Table, p *peers.Peer) []*peers.Peer {
			removed, err := table.Ban(netip.PrefixFrom(p.Addr().Addr(), 32), time.Time{}, "", at(1))
			if err != nil {
				t.Error(err)
			}
			return removed
		},
		"SetOptions": func(table *peers.Table, p *peers.Peer) []*peers.Peer {
			return table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{rule("192.0.2.1", peers.MayNothing), rule("any", peers.MayBoth)}})
		},
		"a new secret": func(table *peers.Table, p *peers.Peer) []*peers.Peer {
			table.ForgetSecret()
			return table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{joinRule("192.0.2.1", peers.JoinSecret), rule("any", peers.MayBoth)}})
		},
	} {
		table := openTable(0, 0)
		p, gone := wantConnected(t, table, "192.0.2.1:1", at(0), peers.JoinSecret, peers.Joined)
		_, other := wantConnected(t, table, "192.0.2.2:1", at(0), peers.JoinSecret, peers.Joined)
		wantPeers(t, name, take(table, p), "192.0.2.1:1")
		wantGone(t, name, gone, 1)
		wantGone(t, name+" of another", other, 0)
		wantPeers(t, name, table.Peers(), "192.0.2.2:1")
		table.Forget(p)
		wantGone(t, name+" and Forget", gone, 1)
		wantCounts(t, table, 1, 0)
	}
}

// What a connected peer may do is what its rule says.
func TestRightsOfConnectedPeersChange(t *testing.T) {
	table := openTable(0, 0)
	p, gone := wantConnected(t, table, "192.0.2.1:1", at(0), peers.JoinOpen, peers.Joined)
	for _, may := range []peers.May{peers.MayReceive, peers.MaySend, peers.MayBoth} {
		table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{rule("any", may)}})
		if p.May() != may {
			t.Errorf("want it to %v, got %v", may, p.May())
		}
		wantPeers(t, "Receivers", table.Receivers())
		wantCounts(t, table, 1, 0)
	}
	table.SetStatic(addrs("192.0.2.1:1"), at(0)) // is another peer
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")
	wantCounts(t, table, 1, 1)
	wantGone(t, "all that", gone, 0)
}

func TestConnectedPeersAreExplained(t *testing.T) {
	table := openTable(0, 0)
	p, _ := wantConnected(t, table, "192.0.2.1:7", at(0), peers.JoinOpen, peers.Joined)
	if e := table.Explain(p.Addr(), at(0)); e.Peer != p || e.Verdict != peers.Known {
		t.Errorf("want the connected peer, known, got %v, %q", e.Peer, e.Verdict)
	}
	if got := []string{peers.UDP.String(), peers.TCP.String(), peers.TLS.String(), peers.WebSocket.String(), peers.SecureWebSocket.String()}; got[0] != "udp" || got[1] != "tcp" || got[2] != "tls" || got[3] != "ws" || got[4] != "wss" {
		t.Errorf("want the schemes of addresses, got %v", got)
	}
}
