package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/peers"
)

// missing are neighbours that nobody is, and found one that is there.
var missing, found = []string{"10.77.0.99", "fd77:0::99", "fe80::77:99%100"}, []string{"10.77.0.11", "fd77:0::11", "fe80::77:2%100"}

// lookFor has the kernel look for the missing neighbours, and know the found.
func lookFor(t testing.TB, other *machine) {
	t.Helper()
	other.linkLocal(t)
	for _, host := range append(missing, found...) {
		to := netip.AddrPortFrom(netip.MustParseAddr(host), 9000)
		newClient(t, to).send("is anybody there?")
	}
	await(t, func() bool {
		looked, err := lookedFor()
		return err == nil && !slices.ContainsFunc(found, func(host string) bool { return looked[netip.MustParseAddr(host)] })
	}, "want the neighbours that are there found; they are looked for")
}

func TestNeighboursThatTheKernelLooksFor(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	t.Run("are found", func(t *testing.T) { checkLookedFor(t, other) })
	t.Run("are held", func(t *testing.T) { checkRelieve(t) })
	t.Run("are held by all senders", func(t *testing.T) { checkPressed(t, other) })
}

func checkLookedFor(t *testing.T, other *machine) {
	var got map[netip.Addr]bool
	// The kernel may have looked for an address of its own that was not yet one.
	await(t, func() bool {
		var err error
		if got, err = lookedFor(); err != nil {
			t.Fatal(err)
		}
		return len(got) == 0
	}, func() string { return fmt.Sprintf("want no neighbours looked for where nothing was sent; got %v", got) })
	lookFor(t, other)
	has := func(host string) bool { return got[netip.MustParseAddr(host)] }
	await(t, func() bool {
		var err error
		if got, err = lookedFor(); err != nil {
			t.Fatal(err)
		}
		for _, host := range missing {
			if !has(host) {
				return false
			}
		}
		return !has(found[0]) && !has(found[1]) && !has(found[2])
	}, func() string { return fmt.Sprintf("want %v looked for and %v not; got %v", missing, found, got) })
}

func checkRelieve(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Hour, Access: anyoneMay(peers.MayBoth)}, time.Now())
	join := func(hosts ...string) (list []*peers.Peer) {
		for _, host := range hosts {
			for port := range uint16(2) {
				p, _ := table.Heard(netip.AddrPortFrom(netip.MustParseAddr(host), 9000+port), time.Now())
				list = append(list, p)
			}
		}
		return list
	}
	dead, quarantined := join(missing...), join("10.77.0.98")
	lost := join(missing[0])[0]
	// Of another link, or by way of a router, they are others.
	alive := join(append(found, "fe80::77:99%101", "10.88.0.1", "fd88::1", "127.0.0.1", "::1")...)
	newClient(t, netip.MustParseAddrPort("10.77.0.98:9000")).send("is anybody there?")
	late := int64(time.Hour) + int64(time.Minute)
	quarantined[0].Path.HoldUntil.Store(late)

	var n neighbours
	at := int64(time.Hour)
	await(t, func() bool {
		n.relieve(table.Receivers(), at)
		for _, p := range dead {
			if p.Path.HoldUntil.Load() != (at+int64(holdLookedFor))|onTrial {
				return false
			}
		}
		return true
	}, "want all peers that the kernel looks for held; they are not")
	for _, p := range alive {
		if until := p.Path.HoldUntil.Load(); until != 0 {
			t.Errorf("want %v not held, for the kernel does not look for it; got %v", p.Addr(), time.Duration(until))
		}
	}
	if got := quarantined[0].Path.HoldUntil.Load(); got != late {
		t.Errorf("want a longer hold to stay; got %v", time.Duration(got))
	}

	if !held(lost, at) || !held(lost, at+int64(holdLookedFor)-1) || held(lost, at+int64(holdLookedFor)+1) {
		t.Errorf("want it held for %v; it is not so", holdLookedFor)
	}
	lost.Path.HoldUntil.Store(0)
	n.asked = time.Now().Add(time.Hour)
	n.relieve(table.Receivers(), at)
	if held(lost, at) {
		t.Error("want the kernel not asked again at once; it was")
	}
	n.asked = time.Now().Add(-askEvery)
	later := at + int64(time.Second)
	n.relieve(table.Receivers(), later)
	if want := (later + int64(holdLookedFor)) | onTrial; lost.Path.HoldUntil.Load() != want {
		t.Errorf("want it held again until %v; got %v", time.Duration(want), time.Duration(lost.Path.HoldUntil.Load()))
	}
}

// It is asked about by whoever sends, at once.
func checkPressed(t *testing.T, other *machine) {
	options := defaults()
	options.SendBuffer = 64 << 10
	r := startRelay(t, ways[0], onAll, options)
	live := room16(t, other.client(t, "10.77.0.11", at(r, "10.77.0.1")))
	live.join(r)
	awaitFlow(t, r, []*client{live})
	var dead []netip.AddrPort
	for i := range 10 {
		dead = append(dead, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, 100 + byte(i)}), 9000))
	}
	r.SetStatic(dead)
	flows := []*flow{startFlow(t, r), startFlow(t, r), startFlow(t, r)}
	for _, addr := range dead {
		p := r.Peers().Lookup(addr)
		await(t, func() bool { return p.Path.HoldUntil.Load() != 0 }, "want "+addr.String()+" held; it is not")
	}
	total := 0
	for _, f := range flows {
		f.end()
		total += f.n
	}
	for range total * 99 / 100 { // a few found no room until the kernel was asked
		live.receive()
	}
}
