package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/testwait"
	"udprelay/peers"
	"udprelay/relay"
)

// A controlled is a daemon that does what a client asks for.
type controlled struct {
	*running
	admin.Client
	relay *net.UDPAddr
}

func startControlled(t *testing.T, directory string, settings ...config.Setting) *controlled {
	t.Helper()
	r := start(t, surroundings{directory: directory}, settings...)
	return &controlled{r, admin.Client{Socket: filepath.Join(directory, controlName)}, r.addr(t)}
}

// ban bans and wants no error.
func (c *controlled) ban(t *testing.T, from string, duration time.Duration, reason string) admin.Banned {
	t.Helper()
	banned, err := c.Ban(t.Context(), from, duration, reason, false)
	if err != nil {
		t.Fatalf("ban %s: %v", from, err)
	}
	return banned
}

func (c *controlled) unban(t *testing.T, from string) admin.Unbanned {
	t.Helper()
	unbanned, err := c.Unban(t.Context(), from, false)
	if err != nil {
		t.Fatalf("unban %s: %v", from, err)
	}
	return unbanned
}

func (c *controlled) bans(t *testing.T) []admin.Ban {
	t.Helper()
	list, err := c.Bans(t.Context())
	if err != nil || list.Max != peers.MaxBans {
		t.Fatalf("want the bans, of %d at most; got %+v, %v", peers.MaxBans, list, err)
	}
	return list.Bans
}

// awaitStatus waits until what the daemon says of itself is as wanted.
func (c *controlled) awaitStatus(t *testing.T, what string, want func(admin.Status) bool) {
	t.Helper()
	var status admin.Status
	testwait.Until(t, func() bool {
		var err error
		if status, err = c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		return want(status)
	}, func() string { return fmt.Sprintf("want %s, got %+v", what, status) })
}

// unrun returns a daemon whose relay only its test uses, and nothing runs beside
// it.
func unrun(t *testing.T) *daemon {
	t.Helper()
	r, err := relay.New(listenUDP(t, "udp4", "127.0.0.1:0"), relayOptions(configured(t, allow("any")), nil, discard))
	if err != nil {
		t.Fatal(err)
	}
	runRelay(t, r)
	d := &daemon{relay: r, log: discard}
	d.shared = newSharedBans(d, &fakeNode{})
	return d
}

// join makes peers learned ones.
func (d *daemon) join(t *testing.T, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		if p, verdict := d.relay.Peers().Heard(netip.MustParseAddrPort(address), time.Now()); p == nil {
			t.Fatalf("%s: want a peer, got %v", address, verdict)
		}
	}
}

// there returns the addresses of all peers.
func (d *daemon) there() string {
	var all []string
	for _, p := range d.relay.Peers().Peers() {
		all = append(all, p.Addr().String())
	}
	return strings.Join(all, " ")
}

// wantFailure checks what a person is told, and the exit code.
func wantFailure(t *testing.T, err error, code int, message, hint string) {
	t.Helper()
	failure := (*admin.Failure)(nil)
	if !errors.As(err, &failure) || failure.Code != code || failure.Message != message || failure.Way != hint {
		t.Errorf("want %q, hint %q, exit code %d; got %#v", message, hint, code, err)
	}
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func TestABannedPeerIsOutAndTheOthersGoOn(t *testing.T) {
	d := startControlled(t, shortDirectory(t), keyed("log.level", "debug"))
	listener, loud := enter(t, "127.0.0.2", d.relay), enter(t, "127.0.0.4", d.relay)
	speaker := enter(t, "127.0.0.3", d.relay)
	loud.say(t, "before")
	listener.hears(t, "before")
	speaker.hears(t, "before")

	before := time.Now()
	banned := d.ban(t, "127.0.0.4", 0, "too loud")
	if banned.Ban.From != prefix("127.0.0.4/32") || banned.Ban.Until != nil || banned.Ban.Reason != "too loud" || banned.Ban.Since.Sub(before).Abs() > 10*time.Second {
		t.Errorf("want the ban as it holds, got %+v", banned.Ban)
	}
	if banned.Removed != 1 || banned.Static != 0 || !banned.Kept {
		t.Errorf("want one peer removed, and the ban kept, got %+v", banned)
	}
	d.await(t, `level=DEBUG msg="peer removed: it is banned" peer=`+loud.LocalAddr().String())
	d.await(t, `level=INFO msg=banned from=127\.0\.0\.4 until="for ever" reason="too loud" removed=1 static=0`)
	if _, err := d.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	loud.say(t, "I want in")
	loud.say(t, "")
	speaker.say(t, "to the others")
	listener.hears(t, "to the others") // and not what was said before
	loud.heardNothing(t)
	d.awaitStatus(t, "two datagrams of one that is banned, and two peers", func(s admin.Status) bool {
		return s.Drops["banned"] == 2 && s.Peers.Learned == 2
	})
	d.await(t, `msg="datagrams dropped" reason=banned count=\d .*peer=127\.0\.0\.4:\d+ hint="these senders are banned, .*; udprelay ban --list shows the bans, udprelay unban takes one away"`)
	if list := d.bans(t); len(list) != 1 || list[0] != banned.Ban {
		t.Errorf("want the ban listed, got %+v", list)
	}

	if unbanned := d.unban(t, "127.0.0.4"); unbanned.Ban != banned.Ban || len(unbanned.Still) != 0 {
		t.Errorf("want the ban that is over, got %+v", unbanned)
	}
	d.await(t, `level=INFO msg="ban taken away" from=127\.0\.0\.4 until="for ever" reason="too loud" bans_that_still_overlap=0`)
	loud.say(t, "back")
	listener.hears(t, "back")
	speaker.hears(t, "back")
	if list := d.bans(t); len(list) != 0 {
		t.Errorf("want no bans, got %+v", list)
	}
}

func TestAStaticPeerThatIsBannedGetsNothingUntilItIsNot(t *testing.T) {
	one, other := guest{listenUDP(t, "udp4", "127.0.0.5:0")}, guest{listenUDP(t, "udp4", "127.0.0.6:0")}
	d := startControlled(t, shortDirectory(t), keyed("peers.static", one.LocalAddr().String()), keyed("peers.static", other.LocalAddr().String()))
	speaker := enter(t, "127.0.0.2", d.relay)
	if banned := d.ban(t, "127.0.0.6", 0, ""); banned.Static != 1 || banned.Removed != 0 {
		t.Errorf("want one static peer, got %+v", banned)
	}
	// Of those that are banned, it is told who is in this prefix.
	if banned := d.ban(t, "127.0.0.5/32", time.Hour, ""); banned.Static != 1 || banned.Removed != 0 {
		t.Errorf("want one static peer, got %+v", banned)
	}
	d.awaitStatus(t, "both banned", func(s admin.Status) bool { return s.Peers.Banned == 2 && s.Peers.Static == 2 && s.Peers.Receivers == 1 })
	d.unban(t, "127.0.0.6")
	speaker.say(t, "to one of them")
	other.hears(t, "to one of them")
	one.heardNothing(t)
	if _, err := one.WriteTo([]byte("silenced"), d.relay); err != nil {
		t.Fatal(err)
	}
	d.awaitStatus(t, "what it says dropped", func(s admin.Status) bool { return s.Drops["banned"] == 1 })

	d.unban(t, "127.0.0.5")
	speaker.say(t, "to both")
	one.hears(t, "to both")
	other.hears(t, "to both")
	speaker.heardNothing(t)
}

func TestABanComesToItsEnd(t *testing.T) {
	collector := guest{listenUDP(t, "udp4", "127.0.0.5:0")}
	d := startControlled(t, shortDirectory(t), keyed("peers.static", collector.LocalAddr().String()))
	before := time.Now().Truncate(time.Millisecond)
	for _, from := range []string{"127.0.0.5", "127.0.0.3"} {
		if banned := d.ban(t, from, time.Second, ""); banned.Ban.Until == nil || banned.Ban.Until.Before(before.Add(time.Second)) || banned.Ban.Until.Sub(banned.Ban.Since.Time) != time.Second {
			t.Errorf("want it banned for a second, got %+v", banned.Ban)
		}
	}
	d.awaitStatus(t, "the static peer among the receivers again", func(s admin.Status) bool { return s.Peers.Banned == 0 && s.Peers.Receivers == 1 })
	if now, until := time.Now(), before.Add(time.Second); now.Before(until) {
		t.Errorf("want it banned until %v at least, got an end at %v", until, now)
	}
	testwait.Until(t, func() bool { return len(d.bans(t)) == 0 }, "want no bans")
	enter(t, "127.0.0.3", d.relay).say(t, "both are back")
	collector.hears(t, "both are back")
}

func TestABanIsToldAsTheTableHasIt(t *testing.T) {
	d := unrun(t)
	d.join(t, "192.0.2.1:1", "192.0.2.2:1", "198.51.100.1:1", "[fe80::1%1]:1", "[fe80::1%2]:1", "[fe80::2]:1")
	long := strings.Repeat("é", peers.MaxReason)
	for _, test := range []struct {
		from    netip.Prefix
		want    string
		removed int
	}{
		{prefix("192.0.2.77/24"), "192.0.2.0/24", 2},
		{prefix("::ffff:198.51.100.9/120"), "198.51.100.0/24", 1},
		{prefix("fe80::1/128"), "fe80::1/128", 2}, // in all zones
		{prefix("fe80::/10"), "fe80::/10", 1},
		{prefix("192.0.2.0/24"), "192.0.2.0/24", 0},
	} {
		banned, err := d.Ban(t.Context(), admin.BanWish{From: test.from, Duration: time.Hour, Reason: long})
		if err != nil || banned.Ban.From.String() != test.want || banned.Removed != test.removed || banned.Kept {
			t.Errorf("%v: want %s banned, %d removed, not kept; got %+v, %v", test.from, test.want, test.removed, banned, err)
		}
		if banned.Ban.Reason != long[:peers.MaxReason] || banned.Ban.Until.Sub(banned.Ban.Since.Time) != time.Hour {
			t.Errorf("%v: want an hour, and what is kept of the reason, got %+v", test.from, banned.Ban)
		}
	}
	if got := d.there(); got != "" {
		t.Errorf("want no peers, got %s", got)
	}

	// Those that overlap what is not banned any more.
	unbanned, err := d.Unban(t.Context(), prefix("::ffff:198.51.100.0/120"), false)
	if err != nil || unbanned.Ban.From != prefix("198.51.100.0/24") || unbanned.Still == nil || len(unbanned.Still) != 0 {
		t.Errorf("want nothing left there, got %+v, %v", unbanned, err)
	}
	if unbanned, err = d.Unban(t.Context(), prefix("fe80::1/128"), false); err != nil || len(unbanned.Still) != 1 || unbanned.Still[0].From != prefix("fe80::/10") {
		t.Errorf("want the larger prefix still banned, got %+v, %v", unbanned, err)
	}
	if _, err := d.Ban(t.Context(), admin.BanWish{From: prefix("192.0.2.7/32")}); err != nil {
		t.Fatal(err)
	}
	if unbanned, err = d.Unban(t.Context(), prefix("192.0.2.1/24"), false); err != nil || len(unbanned.Still) != 1 || unbanned.Still[0].From != prefix("192.0.2.7/32") {
		t.Errorf("want the smaller prefix still banned, got %+v, %v", unbanned, err)
	}
}

func TestBansThatCannotBe(t *testing.T) {
	d := unrun(t)
	_, err := d.Ban(t.Context(), admin.BanWish{From: netip.Prefix{}})
	wantFailure(t, err, 64, "there is no prefix: want one such as 203.0.113.0/24 or 2001:db8::/64", "")
	_, err = d.Ban(t.Context(), admin.BanWish{From: prefix("::ffff:0:0/95")})
	wantFailure(t, err, 64, "::ffff:0.0.0.0/95: the prefix is not valid: it has IPv4 addresses and others; want one such as ::/0 or 0.0.0.0/0", "")
	_, err = d.Ban(t.Context(), admin.BanWish{From: prefix("192.0.2.0/24"), Duration: -time.Second})
	wantFailure(t, err, 64, "a ban cannot last -1s: want a time such as 1h, or none for a ban that does not end", "")
	if list := d.Bans(); len(list.Bans) != 0 {
		t.Errorf("want no bans, got %+v", list)
	}
	for _, test := range []func(netip.Prefix) error{
		func(p netip.Prefix) error { _, err := d.Unban(t.Context(), p, false); return err },
		func(p netip.Prefix) error { _, err := d.Kick(p, 0); return err },
	} {
		wantFailure(t, test(netip.Prefix{}), 64, "there is no prefix: want one such as 203.0.113.0/24 or 2001:db8::/64", "")
	}

	_, err = d.Unban(t.Context(), prefix("192.0.2.7/32"), false)
	wantFailure(t, err, 1, "there is no ban of 192.0.2.7", "udprelay ban --list shows the bans")
	for i := range peers.MaxBans {
		if _, err := d.Ban(t.Context(), admin.BanWish{From: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = d.Ban(t.Context(), admin.BanWish{From: prefix("192.0.2.0/24")})
	wantFailure(t, err, 69, peers.ErrTooManyBans.Error(), "udprelay ban --list shows the bans, udprelay unban takes one away")
	_, err = d.Unban(t.Context(), prefix("10.0.7.7/32"), false)
	wantFailure(t, err, 1, "there is no ban of 10.0.7.7, but one of 10.0.7.0/24", "udprelay ban --list shows the bans")
	_, err = d.Unban(t.Context(), prefix("10.0.0.0/8"), false)
	wantFailure(t, err, 1, "there is no ban of 10.0.0.0/8, but one of 10.0.0.0/24", "udprelay ban --list shows the bans")
	if list := d.Bans(); len(list.Bans) != peers.MaxBans || list.Bans[999].From != prefix("10.3.231.0/24") {
		t.Errorf("want all bans in order, got %d", len(list.Bans))
	}
}

func TestKick(t *testing.T) {
	collector := guest{listenUDP(t, "udp4", "127.0.0.5:0")}
	d := startControlled(t, shortDirectory(t), keyed("log.level", "debug"), keyed("peers.static", collector.LocalAddr().String()))
	joined := func(n int) func(admin.Status) bool {
		return func(s admin.Status) bool { return s.Peers.Learned == n }
	}
	a, b := enter(t, "127.0.0.2", d.relay), enter(t, "127.0.0.2", d.relay)
	d.awaitStatus(t, "two peers", joined(2))
	c := enter(t, "127.0.0.3", d.relay)
	d.awaitStatus(t, "three peers", joined(3))
	address := func(g guest) netip.AddrPort { return g.LocalAddr().(*net.UDPAddr).AddrPort() }
	kick := func(whom string, named string, want ...guest) {
		t.Helper()
		kicked, err := d.Kick(t.Context(), whom)
		var addresses []netip.AddrPort
		for _, g := range want {
			addresses = append(addresses, address(g))
		}
		if slices.SortFunc(kicked.Removed, netip.AddrPort.Compare); err != nil || kicked.Count != len(want) || !slices.Equal(kicked.Removed, addresses) {
			t.Errorf("kick %s: want %v, got %+v, %v", whom, addresses, kicked, err)
		}
		for _, g := range want {
			d.await(t, `level=DEBUG msg="peer kicked" peer=`+g.LocalAddr().String())
		}
		d.await(t, fmt.Sprintf(`level=INFO msg="peers kicked" from=%s count=%d`, named, len(want)))
	}
	kick(address(a).String(), address(a).String(), a)
	c.say(t, "to b")
	b.hears(t, "to b")
	a.heardNothing(t)
	// It may join again with its next datagram.
	a.say(t, "back")
	b.hears(t, "back")
	c.hears(t, "back")
	collector.hears(t, "to b")
	collector.hears(t, "back")

	pair := []guest{a, b}
	slices.SortFunc(pair, func(x, y guest) int { return address(x).Compare(address(y)) })
	kick("127.0.0.2", `127\.0\.0\.2`, pair...)
	d.awaitStatus(t, "one peer", joined(1)) // a status may be a quarter of a second old
	a.say(t, "")
	b.say(t, "")
	d.awaitStatus(t, "three peers again", joined(3))
	kick("127.0.0.1/8", `127\.0\.0\.0/8`, append(pair, c)...)
	d.awaitStatus(t, "the static peer only", func(s admin.Status) bool { return s.Peers.Learned == 0 && s.Peers.Static == 1 })

	const ways = "udprelay ban silences static peers; to take one out, remove it from peers.static and reload"
	for whom, message := range map[string]string{
		collector.LocalAddr().String(): "only static peers are at " + collector.LocalAddr().String() + ", and a kick takes learned ones out",
		"127.0.0.5":                    "only static peers are at 127.0.0.5, and a kick takes learned ones out",
		"127.0.0.0/8":                  "only static peers are in 127.0.0.0/8, and a kick takes learned ones out",
	} {
		_, err := d.Kick(t.Context(), whom)
		wantFailure(t, err, 1, message, ways)
	}
	for whom, message := range map[string]string{
		"127.0.0.5:1":           "there is no peer at 127.0.0.5:1",
		"127.0.0.2":             "there is no peer at 127.0.0.2",
		"192.0.2.0/24":          "there is no peer in 192.0.2.0/24",
		"[2001:db8::1]:9":       "there is no peer at [2001:db8::1]:9",
		"::ffff:192.0.2.0/120":  "there is no peer in 192.0.2.0/24",
		address(a).String():     "there is no peer at " + address(a).String(),
		"2001:0db8:0::/48":      "there is no peer in 2001:db8::/48",
		"[::ffff:192.0.2.1]:99": "there is no peer at 192.0.2.1:99",
	} {
		_, err := d.Kick(t.Context(), whom)
		wantFailure(t, err, 1, message, "udprelay peers shows who is there")
	}
}

func TestKickOfAPortAndOfMany(t *testing.T) {
	d := unrun(t)
	d.join(t, "192.0.2.1:1", "192.0.2.2:1", "192.0.2.2:2", "198.51.100.1:1", "[fe80::1%1]:1", "[fe80::1%2]:1")
	kicked, err := d.Kick(prefix("192.0.2.0/24"), 1)
	if err != nil || kicked.Count != 2 || d.there() != "192.0.2.2:2 198.51.100.1:1 [fe80::1%1]:1 [fe80::1%2]:1" {
		t.Errorf("want two gone, got %+v, %v; there is %s", kicked, err, d.there())
	}
	_, err = d.Kick(prefix("192.0.2.0/24"), 1)
	wantFailure(t, err, 1, "there is no peer in 192.0.2.0/24 with port 1", "udprelay peers shows who is there")
	if kicked, err := d.Kick(prefix("fe80::1/128"), 1); err != nil || kicked.Count != 2 {
		t.Errorf("want it gone in all zones, got %+v, %v", kicked, err)
	}
	if _, err := d.Kick(prefix("0.0.0.0/0"), 0); err != nil || d.there() != "" {
		t.Errorf("want all gone, got %v; there is %s", err, d.there())
	}
	for i := range 3 * mostNamed {
		d.join(t, fmt.Sprintf("10.0.%d.%d:1", i/200, i%200))
	}
	if kicked, err := d.Kick(prefix("10.0.0.0/8"), 0); err != nil || kicked.Count != 3*mostNamed || len(kicked.Removed) != mostNamed || kicked.Removed[0].String() != "10.0.0.0:1" {
		t.Errorf("want 300 gone and the first 100 named, got %d, %d, %v", kicked.Count, len(kicked.Removed), err)
	}
}

// Bans and kicks come from several sides while datagrams pass. Who has nothing
// to do with them misses none.
func TestBansAndKicksBesideTraffic(t *testing.T) {
	const rounds = 60
	collector := guest{listenUDP(t, "udp4", "127.0.0.5:0")}
	d := startControlled(t, shortDirectory(t), keyed("peers.static", collector.LocalAddr().String()), keyed("peers.joins_per_second_per_address", "0"))
	listener, speaker := enter(t, "127.0.0.2", d.relay), enter(t, "127.0.0.3", d.relay)
	d.awaitStatus(t, "two peers", func(s admin.Status) bool { return s.Peers.Learned == 2 })
	guests := []guest{enter(t, "127.0.0.8", d.relay), enter(t, "127.0.0.9", d.relay)}

	var asking sync.WaitGroup
	for _, from := range []string{"127.0.0.8", "127.0.0.9", "127.0.0.8/29", "127.0.0.5"} {
		asking.Go(func() {
			for i := range rounds {
				if _, err := d.Ban(t.Context(), from, time.Duration(i%2)*time.Hour, "beside", false); err != nil {
					t.Errorf("ban %s: %v", from, err)
				}
				if unbanned, err := d.Unban(t.Context(), from, false); err != nil || unbanned.Ban.Reason != "beside" {
					t.Errorf("unban %s: %+v, %v", from, unbanned, err)
				}
			}
		})
	}
	asking.Go(func() {
		for range rounds {
			failure := (*admin.Failure)(nil) // there may be nobody
			if kicked, err := d.Kick(t.Context(), "127.0.0.8/29"); err != nil && !errors.As(err, &failure) || err == nil && kicked.Count == 0 {
				t.Errorf("kick: %+v, %v", kicked, err)
			}
			if list, err := d.Bans(t.Context()); err != nil || len(list.Bans) > 4 {
				t.Errorf("want 4 bans at most, got %+v, %v", list, err)
			}
		}
	})
	t.Cleanup(asking.Wait)
	asked := make(chan struct{})
	go func() { asking.Wait(); close(asked) }()
	for i, busy := 0, true; busy; i++ {
		for _, g := range guests {
			g.say(t, "") // refused or not
		}
		speaker.say(t, fmt.Sprint(i))
		listener.hears(t, fmt.Sprint(i))
		select {
		case <-asked:
			busy = false
		default:
		}
	}
	if list := d.bans(t); len(list) != 0 {
		t.Errorf("want no bans left, got %+v", list)
	}
	for _, g := range guests {
		g.say(t, "")
	}
	d.awaitStatus(t, "everyone back", func(s admin.Status) bool {
		return s.Peers.Learned == 4 && s.Peers.Banned == 0 && s.Peers.Receivers == 5
	})
}
