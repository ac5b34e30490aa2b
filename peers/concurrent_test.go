package peers_test

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"udprelay/peers"
)

// beside runs each work again and again in a goroutine of its own until main
// returns. Main may wait for the turns that they have had.
func beside(t *testing.T, main func(turns *atomic.Int64), work ...func()) {
	t.Helper()
	var (
		done  atomic.Bool
		turns atomic.Int64
		all   sync.WaitGroup
	)
	for _, once := range work {
		all.Go(func() {
			for !done.Load() && !t.Failed() {
				once()
				turns.Add(1)
				runtime.Gosched()
			}
		})
	}
	main(&turns)
	done.Store(true)
	all.Wait()
}

// The datapath hears senders while others expire, reload, forget and look.
func TestTableHoldsTogetherUnderConcurrentUse(t *testing.T) {
	const (
		senders   = 3000
		max       = 300
		leastHear = 100_000 // datagrams
		leastTurn = 2000    // turns of the others
	)
	var (
		clock  atomic.Int64 // nanoseconds since start
		now    = func() time.Time { return at(time.Duration(clock.Load())) }
		static = nths(senders, senders+20) // static all the time
		table  = peers.New(peers.Options{
			Expiry:        time.Second,
			Max:           max,
			MaxPerAddress: 3,
			Access:        []peers.Rule{rule("10.0.0.0/24", peers.MayReceive), rule("10.0.1.0/24", peers.MaySend), joinRule("10.0.2.0/24", peers.JoinCookie), rule("any", peers.MayBoth)},
		}, start)
	)
	table.SetStatic(static, start)

	hear := func(turns *atomic.Int64) {
		verdicts := map[peers.Verdict]int{}
		for heard := 0; (heard < leastHear || turns.Load() < leastTurn) && !t.Failed(); heard++ {
			from := nth(rand.IntN(senders + len(static)))
			if rand.IntN(2) == 0 { // several peers at one address
				from = netip.AddrPortFrom(nth(rand.IntN(20)).Addr(), uint16(rand.IntN(9)))
			}
			do := table.Heard
			if rand.IntN(4) == 0 {
				do = proved(table, peers.JoinCookie)
			}
			p, verdict := do(from, now())
			verdicts[verdict]++
			switch {
			case verdict.Refused() != (p == nil), p != nil && p.Addr() != keptAt(p, from):
				t.Errorf("Heard or Admit(%v): want its peer unless refused, got %v and %q", from, p, verdict)
			case slices.Contains(static, from) && verdict != peers.Known:
				t.Errorf("Heard or Admit(%v), a static peer: want %q, got %q", from, peers.Known, verdict)
			}
			clock.Add(int64(time.Millisecond))
			if heard%64 == 0 { // like the datapath, which has one processor for all on small machines
				runtime.Gosched()
			}
		}
		t.Logf("%v", verdicts)
	}
	expire := func() {
		for _, p := range table.Expire(now()) {
			if slices.Contains(static, p.Addr()) {
				t.Errorf("want static peers to stay, got %v expired", p.Addr())
			}
		}
	}
	reload := func() {
		list := slices.Clone(static)
		for range rand.IntN(50) {
			list = append(list, nth(rand.IntN(senders)))
		}
		table.SetStatic(list, now())
	}
	forget := func() {
		list := table.Peers()
		p := list[rand.IntN(len(list))]
		if gone := table.Forget(p); gone && slices.Contains(static, p.Addr()) {
			t.Errorf("Forget(%v), a static peer: want false, got true", p.Addr())
		}
	}
	ban := func() {
		prefix := netip.PrefixFrom(nth(2*rand.IntN(senders/4)).Addr(), 24+rand.IntN(9)) // of no static peer
		removed, err := table.Ban(prefix, now().Add(time.Duration(1+rand.IntN(500))*time.Millisecond), "", now())
		if err != nil {
			t.Errorf("Ban(%v): %v", prefix, err)
		}
		for _, p := range removed {
			// It may be of another ban, which was over for a datagram that came
			// a moment later.
			if slices.Contains(static, p.Addr()) || table.Lookup(p.Addr()) == p {
				t.Errorf("Ban(%v): want learned peers to leave the table, got %v", prefix, p.Addr())
			}
		}
		if rand.IntN(2) == 0 {
			table.Unban(prefix)
		}
		if a := table.Explain(nth(rand.IntN(senders)), now()); len(a.Steps) < 3 {
			t.Errorf("want an explanation in steps, got %+v", a)
		}
		if rules := table.Rules(); len(rules) != 5 {
			t.Errorf("Rules: want 5, got %+v", rules)
		}
	}
	look := func() {
		for _, list := range [][]*peers.Peer{table.Receivers(), table.Peers()} {
			stayed := 0
			var last uint64
			for _, p := range list {
				if p.Number() <= last {
					t.Errorf("want ascending numbers, got %d after %d", p.Number(), last)
				}
				last = p.Number()
				if stayed < len(static) && p.Addr() == static[stayed] {
					stayed++
				}
				heard, ever := table.LastHeard(p)
				if ever && heard.Before(table.Joined(p)) {
					t.Errorf("want %v to be heard after it joined at %v, got %v", p.Addr(), table.Joined(p), heard)
				}
				_, _ = p.May(), p.Static()
			}
			if stayed != len(static) {
				t.Errorf("want the %d peers that stay in every list, got %d", len(static), stayed)
			}
		}
		if learned, still := table.Counts(); learned < 0 || learned > max || still < len(static) {
			t.Errorf("Counts: want 0 to %d learned and at least %d static, got %d and %d", max, len(static), learned, still)
		}
	}
	beside(t, hear, expire, reload, forget, ban, look, look)
	wantConsistent(t, table)
}

func TestPeerThatStaysIsAlwaysKnownBesideChanges(t *testing.T) {
	const staying, passing = 200, 2000
	table := openTable(0, 0)
	stays := make([]*peers.Peer, staying)
	for i := range stays {
		stays[i], _ = table.Heard(nth(i), start)
	}
	hear := func(turns *atomic.Int64) {
		for round := 0; (round < 1000 || turns.Load() < 1000) && !t.Failed(); round++ {
			for i, want := range stays {
				if got, verdict := table.Heard(nth(i), at(time.Hour)); got != want || verdict != peers.Known {
					t.Errorf("Heard(%v): want %p and %q, got %p and %q", nth(i), want, peers.Known, got, verdict)
					return
				}
			}
			runtime.Gosched()
		}
	}
	look := func() {
		for i, want := range stays {
			if got := table.Lookup(nth(i)); got != want {
				t.Errorf("Lookup(%v): want %p, got %p", nth(i), want, got)
				return
			}
		}
	}
	// The one writer: static peers come and go, so that the index is rebuilt.
	come := func() {
		from := staying + rand.IntN(10)*passing
		table.SetStatic(nths(from, from+rand.IntN(passing)), start)
		table.Expire(at(time.Minute - 1))
	}
	beside(t, hear, come, look, look)
	table.SetStatic(nil, start)
	wantCounts(t, table, staying, 0)
}

// What comes between the look-up and the lock is found under the lock.
func TestSenderThatBecomesStaticAsItJoinsIsNotAddedTwice(t *testing.T) {
	from := addr("192.0.2.1:1")
	var (
		table *peers.Table
		asked int
	)
	table = peers.New(peers.Options{Expiry: time.Minute, Access: anyBoth, Own: func(netip.AddrPort) bool {
		if asked++; asked == 1 { // by Heard, before it takes the lock
			table.SetStatic([]netip.AddrPort{from}, start)
		}
		return false
	}}, start)
	p := wantHeard(t, table, from.String(), at(time.Second), peers.Known)
	if !p.Static() || asked != 2 {
		t.Errorf("want the static peer after two questions to Own, got static %v after %d", p.Static(), asked)
	}
	wantLastHeard(t, table, p, at(time.Second))
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1")
	wantCounts(t, table, 0, 1)
}
