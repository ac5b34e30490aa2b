package relay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

// restarted stops nothing: it returns a second relay, that runs, with what r
// remembers.
func restarted(t *testing.T, w way, r *Relay, place string, options Options) *Relay {
	t.Helper()
	next := makeRelay(t, w, place, options)
	if want, got := len(r.Remember()), next.Restore(r.Remember()); got != want {
		t.Fatalf("want %d peers restored; got %d", want, got)
	}
	run(t, next)
	return next
}

func TestPeersOutliveTheRelay(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := guarded(peers.JoinSecret)
		options.Secret = []byte("secret")
		r := startGuarded(t, w, onAll, options)
		r.SetStatic([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:9")})
		clients := []*client{newClient(t, at(r, "127.0.0.1")), newClient(t, at(r, "::1"))}
		for _, c := range clients {
			c.prove(r, "secret")
		}
		list := r.Remember()
		if len(list) != 2 {
			t.Fatalf("want the 2 learned peers; got %v", list)
		}
		for i, m := range list {
			p := r.Peers().Lookup(clients[i].addr)
			heard, _ := r.Peers().LastHeard(p)
			source := netip.MustParseAddr([]string{"127.0.0.1", "::1"}[i])
			want := Remembered{Remembered: peers.Remembered{Addr: clients[i].addr, Joined: r.Peers().Joined(p), Heard: heard, Proof: peers.JoinSecret}, Source: source}
			if m != want {
				t.Errorf("want %+v; got %+v", want, m)
			}
		}
		next := restarted(t, w, r, onAll, options)
		for i, m := range next.Remember() {
			// Times may differ by what the relay's clock is off.
			if m.Addr != list[i].Addr || m.Proof != list[i].Proof || m.Source != list[i].Source || m.Heard.Sub(list[i].Heard).Abs() > time.Second {
				t.Errorf("want %+v; got %+v", list[i], m)
			}
		}
		if got := next.Restore(list); got != 0 {
			t.Errorf("want nobody restored twice; got %d", got)
		}
		link := next.Attach(discard{})
		bring(t, link, "to nobody who is connected to another port") // and no error
		checkNoDrops(t, next)
	})
}

func TestRestorePassesOverWhatIsNotThere(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		now := time.Now()
		remembered := func(addr, source string, link uint32) Remembered {
			m := Remembered{Remembered: peers.Remembered{Addr: netip.MustParseAddrPort(addr), Joined: now, Heard: now}, Link: link}
			if source != "" {
				m.Source = netip.MustParseAddr(source)
			}
			return m
		}
		const none = 1<<31 - 1                                 // no interface
		for place, want := range map[string]map[string]string{ // the sources of those restored
			onAll: {
				"192.0.2.1:9": "192.0.2.77", "192.0.2.2:9": "", "192.0.2.3:9": "", "192.0.2.4:9": "", "192.0.2.5:9": "192.0.2.78",
				"[fe80::1%1]:9": "fe80::77", "[fe80::2%1]:9": "",
			},
			onAll4: {
				"192.0.2.1:9": "192.0.2.77", "192.0.2.2:9": "", "192.0.2.3:9": "", "192.0.2.4:9": "", "192.0.2.5:9": "192.0.2.78",
				"[fe80::1%1]:9": "", "[fe80::2%1]:9": "",
			},
			on4: {
				"192.0.2.1:9": "", "192.0.2.2:9": "", "192.0.2.3:9": "", "192.0.2.4:9": "", "192.0.2.5:9": "",
				"[fe80::1%1]:9": "", "[fe80::2%1]:9": "",
			},
		} {
			r := makeRelay(t, w, place, defaults())
			got := r.Restore([]Remembered{
				remembered("192.0.2.1:9", "192.0.2.77", 0),
				remembered("192.0.2.2:9", "", 0),
				remembered("192.0.2.3:9", "2001:db8::77", 0),
				remembered("192.0.2.4:9", "239.0.0.1", 0),
				remembered("[::ffff:192.0.2.5]:9", "::ffff:192.0.2.78", 0),
				remembered("[fe80::1%1]:9", "fe80::77", 1),
				remembered("[fe80::2%1]:9", "fe80::77", none),
				remembered(fmt.Sprintf("[fe80::3%%%d]:9", none), "fe80::77", none),
				remembered("[fe80::4%no-such]:9", "fe80::77", 1),
				remembered("[fe80::5%0]:9", "fe80::77", 1),
				remembered(r.Addr().String(), "", 0),
				remembered("239.0.0.1:9", "", 0),
				{},
			})
			if got != len(want) {
				t.Errorf("on %s: want %d restored; got %d", place, len(want), got)
			}
			for addr, source := range want {
				p := r.Peers().Lookup(netip.MustParseAddrPort(addr))
				if p == nil {
					t.Errorf("on %s: want peer %s; got none", place, addr)
					continue
				}
				if _, isPlain := r.socket.(*plainSocket); isPlain && place != on4 && !r.socket.(*plainSocket).wildcard {
					source = "" // this system does not tell where datagrams were sent to
				}
				got := ""
				if s := p.Path.Source.Load(); s != nil {
					got = s.Addr.String()
				}
				if got != source {
					t.Errorf("on %s: want source %q for %s; got %q", place, source, addr, got)
				}
			}
		}
	})
}
