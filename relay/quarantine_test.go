package relay

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udprelay/peers"
)

// A quiet is a relay whose socket does nothing, in the time of a synctest
// bubble, and what it tells about failures.
type quiet struct {
	*Relay
	t *testing.T
	n int // datagrams sent so far
}

func inQuiet(t *testing.T, test func(t *testing.T, q *quiet)) {
	synctest.Test(t, func(t *testing.T) {
		r := &Relay{options: defaults(), log: slog.New(slog.DiscardHandler), began: time.Now(), own: new(own)}
		r.own.host.Store(newHost(nil))
		r.use(new(plainSocket))
		time.Sleep(time.Hour) // a time of 0 is like none
		test(t, &quiet{Relay: r, t: t})
	})
}

var someAddr = netip.MustParseAddrPort("192.0.2.7:9000")

func (q *quiet) learned() *peers.Peer {
	q.t.Helper()
	p, verdict := q.table.Heard(someAddr, time.Now())
	if verdict != peers.Joined {
		q.t.Fatalf("want a peer that joins; got %v", verdict)
	}
	return p
}

func (q *quiet) static() *peers.Peer {
	q.SetStatic([]netip.AddrPort{someAddr})
	return q.table.Lookup(someAddr)
}

// sends notes a datagram as relayed now, and returns what is quoted of it.
func (q *quiet) sends() []byte {
	q.n++
	quote := mark(q.n, 64)
	noteIn(q.sent, q.since(time.Now()), quote+" and more")
	return []byte(quote)
}

// fails has a datagram sent that fails at once, and another way after a while.
func (q *quiet) fails(what Report) {
	quote := q.sends()
	time.Sleep(2 * time.Millisecond)
	q.undeliverable(someAddr, what, quote)
}

// hears has a datagram come from p.
func (q *quiet) hears(p *peers.Peer) {
	q.t.Helper()
	q.receiving.batch.reset()
	q.receiving.batch.datagrams = append(q.receiving.batch.datagrams, Datagram{From: p.Addr()})
	q.receiving.batch.sources = append(q.receiving.batch.sources, nil)
	q.admit(q.receiving.batch, time.Now(), &q.receiving.tally)
}

func (q *quiet) held(p *peers.Peer) bool { return held(p, q.since(time.Now())) }

func (q *quiet) wantHeld(p *peers.Peer, want bool, when string) {
	q.t.Helper()
	if got := q.held(p); got != want {
		q.t.Errorf("%s: want the peer held: %t; got %t", when, want, got)
	}
}

// wantRetries has each try of p fail, and checks how long p is held after it.
func (q *quiet) wantRetries(p *peers.Peer, tries time.Duration, waits ...time.Duration) {
	q.t.Helper()
	for i, wait := range waits {
		time.Sleep(tries)
		q.fails(ReportUnreachable)
		began := time.Now()
		for q.held(p) && time.Since(began) < time.Hour {
			time.Sleep(10 * time.Millisecond)
		}
		if got := time.Since(began); got < wait || got > wait+10*time.Millisecond {
			q.t.Errorf("failure %d: want the peer held for %v; got %v", i, wait, got)
		}
	}
}

// eachSort runs the test for a learned peer and for a static one.
func eachSort(t *testing.T, test func(t *testing.T, q *quiet, p *peers.Peer)) {
	t.Run("learned", func(t *testing.T) { inQuiet(t, func(t *testing.T, q *quiet) { test(t, q, q.learned()) }) })
	t.Run("static", func(t *testing.T) { inQuiet(t, func(t *testing.T, q *quiet) { test(t, q, q.static()) }) })
}

func TestPeerThatCannotBeReachedIsTriedAgainAndAgain(t *testing.T) {
	s := time.Second
	eachSort(t, func(t *testing.T, q *quiet, p *peers.Peer) {
		// A neighbour fails after three seconds, a router says so at once.
		q.wantRetries(p, 3*s, 1*s, 2*s, 4*s, 8*s, 16*s, 16*s, 16*s)
		q.wantRetries(p, 0, 16*s, 16*s)
		time.Sleep(goodAgain)
		q.wantRetries(p, s, 1*s, 2*s) // it was there for a while
		q.hears(p)
		q.wantRetries(p, 0, 1*s, 2*s, 4*s)
	})
}

func TestPeerThatIsHeardIsSentToAtOnce(t *testing.T) {
	eachSort(t, func(t *testing.T, q *quiet, p *peers.Peer) {
		for round := range 3 {
			time.Sleep(time.Minute)
			q.wantHeld(p, false, fmt.Sprintf("round %d", round))
			q.fails(ReportUnreachable)
			q.wantHeld(p, true, "when it is unreachable")
			q.fails(ReportUnreachable) // of what was on its way
			q.wantHeld(p, true, "when that is told again")
			q.hears(p)
			q.wantHeld(p, false, "when it is heard")
			if p.Path.Failing() {
				t.Errorf("want no failures remembered once it is heard; got %+v", p.Path.Failures)
			}
		}
		if q.receiving.tally.StrayErrors != 0 {
			t.Errorf("want no stray errors; got %d", q.receiving.tally.StrayErrors)
		}
	})
}

func TestErrorsOfOneOutageCountOnce(t *testing.T) {
	inQuiet(t, func(t *testing.T, q *quiet) {
		p := q.static()
		var quotes [][]byte
		for range 20 {
			quotes = append(quotes, q.sends())
		}
		time.Sleep(5 * time.Millisecond)
		for _, quote := range quotes {
			q.undeliverable(someAddr, ReportUnreachable, quote)
		}
		if got := p.Path.Failures.Unreachable; got != 1 {
			t.Errorf("want one quarantine for the errors of 20 datagrams; got %d", got)
		}
		time.Sleep(firstRetry)
		q.wantHeld(p, false, "after the first wait")
	})
}

func TestErrorOlderThanWhatWasHeardChangesNothing(t *testing.T) {
	for _, what := range []Report{ReportUnreachable, ReportProhibited, ReportTTLExceeded, ReportPortClosed} {
		for _, static := range []bool{false, true} {
			inQuiet(t, func(t *testing.T, q *quiet) {
				p := q.static()
				if !static {
					q.SetStatic(nil)
					p = q.learned()
				}
				var quotes [][]byte
				for range 5 {
					quotes = append(quotes, q.sends())
					time.Sleep(time.Second)
				}
				q.hears(p)
				time.Sleep(time.Millisecond)
				for _, quote := range quotes {
					q.undeliverable(someAddr, what, quote)
				}
				q.wantHeld(p, false, "heard later than what failed")
				if p.Path.Failing() || q.table.Lookup(someAddr) != p {
					t.Errorf("want nothing changed; got %+v", p.Path.Failures)
				}
				if q.receiving.tally.StrayErrors != 0 {
					t.Errorf("want no stray errors; got %d", q.receiving.tally.StrayErrors)
				}
			})
		}
	}
}

// Those two can come in one batch, the answer to a datagram and the datagram.
func TestPeerHeardAtTheTimeOfWhatFailedIsHeldAllTheSame(t *testing.T) {
	inQuiet(t, func(t *testing.T, q *quiet) {
		p := q.learned()
		q.hears(p)
		q.fails(ReportUnreachable)
		q.wantHeld(p, true, "heard when that was sent")
	})
}

func TestErrorAboutNothingThatWasSentIsStray(t *testing.T) {
	for _, static := range []bool{false, true} {
		inQuiet(t, func(t *testing.T, q *quiet) {
			if static {
				q.static()
			} else {
				q.learned()
			}
			p := q.table.Lookup(someAddr)
			sent := q.sends()
			time.Sleep(5 * time.Millisecond)
			stranger := netip.MustParseAddrPort("192.0.2.8:9000")
			strays := uint64(0)
			stray := func(to netip.AddrPort, quote []byte) {
				for _, what := range Reports() {
					for range 3 * refusals {
						time.Sleep(refusingTime / 4)
						q.undeliverable(to, what, quote)
						strays++
					}
				}
			}
			stray(someAddr, nil)
			stray(someAddr, sent[:8])
			stray(someAddr, []byte(mark(99, 64)))
			stray(stranger, []byte(mark(99, 64)))
			sent = q.sends()
			stray(stranger, sent)
			time.Sleep(11 * time.Second)
			stray(someAddr, sent)
			if got := q.receiving.tally.StrayErrors; got != strays {
				t.Errorf("want %d stray errors; got %d", strays, got)
			}
			q.wantHeld(p, false, "after stray errors")
			if p.Path.Failing() || q.table.Lookup(someAddr) != p {
				t.Errorf("want nothing changed by stray errors; got %+v", p.Path.Failures)
			}
		})
	}
}

// Each report that quotes what was sent is counted, for its peer and in total,
// whatever else it changes.
func TestReportsAreCounted(t *testing.T) {
	eachSort(t, func(t *testing.T, q *quiet, p *peers.Peer) {
		for n, what := range Reports() {
			for range n + 1 {
				q.fails(what)
			}
		}
		stats, whole := q.PeerStats(p), q.Stats()
		for n, what := range Reports() {
			if got := stats.Reported[what]; got != uint64(n+1) {
				t.Errorf("want %d reports %v of the peer; got %d", n+1, what, got)
			}
			if got := whole.Reported[what]; got != uint64(n+1) {
				t.Errorf("want %d reports %v in total; got %d", n+1, what, got)
			}
			if at, ever := q.LastReport(p, what); !ever || time.Since(at) > time.Second {
				t.Errorf("want the last report %v a moment ago; got %v, %t", what, at, ever)
			}
		}
		before := q.Stats()
		q.undeliverable(someAddr, ReportTooBig, []byte("never sent"))
		if got := q.Stats().Reported; got != before.Reported {
			t.Errorf("want a forged report not counted; got %v after %v", got, before.Reported)
		}
	})
}

// A peer whose datagrams do not arrive does not look well, unless it was heard
// since.
func TestPeerWithReportsIsFailing(t *testing.T) {
	for _, what := range Reports() {
		eachSort(t, func(t *testing.T, q *quiet, p *peers.Peer) {
			want := func(want State, when string) {
				t.Helper()
				if got := q.PeerState(p).State; got != want {
					t.Errorf("%v, %s: want state %v; got %v", what, when, want, got)
				}
			}
			want(StateOK, "before")
			q.fails(what)
			if what.quarantines() {
				want(StateQuarantined, "at once")
				time.Sleep(firstRetry)
			}
			want(StateFailing, "when it is sent to")
			if x := q.Explain(someAddr); !strings.Contains(x.ToVerdict, reportWords[what]) || x.To[len(x.To)-1].Name != "last report of the network" {
				t.Errorf("want an explanation that names %v; got %+v", what, x)
			}
			left := time.Until(q.PeerState(p).Until)
			time.Sleep(left - time.Millisecond)
			want(StateFailing, "just before it is over")
			time.Sleep(2 * time.Millisecond)
			want(StateOK, "when it is over")
			q.fails(what)
			time.Sleep(2 * time.Millisecond)
			q.hears(p)
			if what.quarantines() || what == ReportPortClosed {
				want(StateOK, "when it is heard")
			} else {
				want(StateFailing, "when it is heard, which says nothing about what is sent to it")
			}
		})
	}
}

func TestOtherReportsQuarantineNobody(t *testing.T) {
	for _, what := range []Report{ReportTooBig, ReportFragmentLost, ReportOther} {
		eachSort(t, func(t *testing.T, q *quiet, p *peers.Peer) {
			for range 100 {
				q.fails(what)
				time.Sleep(time.Second)
			}
			q.wantHeld(p, false, "after reports of another kind")
			if p.Path.Failing() || q.table.Lookup(someAddr) != p || q.receiving.tally.StrayErrors != 0 {
				t.Errorf("want nothing changed; got %+v, %d stray errors", p.Path.Failures, q.receiving.tally.StrayErrors)
			}
		})
	}
}

func TestLearnedPeerIsForgottenWhenItRefusesForASecond(t *testing.T) {
	inQuiet(t, func(t *testing.T, q *quiet) {
		p := q.learned()
		time.Sleep(time.Second)
		there := func(want bool, when string) {
			t.Helper()
			if got := q.table.Lookup(someAddr) == p; got != want {
				t.Fatalf("%s: want the peer there: %t; got %t", when, want, got)
			}
		}
		for range 200 {
			q.fails(ReportPortClosed) // takes 2 ms
		}
		there(true, "200 refusals in less than a second")
		q.hears(p)
		time.Sleep(time.Minute)
		q.fails(ReportPortClosed)
		time.Sleep(time.Minute)
		q.fails(ReportPortClosed)
		there(true, "2 refusals in a minute, after it was heard")
		q.hears(p)
		for n := range refusals {
			there(true, fmt.Sprintf("%d refusals", n))
			time.Sleep(refusingTime / (refusals - 1))
			q.fails(ReportPortClosed)
		}
		there(false, "3 refusals in a second")
		q.undeliverable(someAddr, ReportPortClosed, q.sends()) // of what was on its way
		if got := q.receiving.tally.StrayErrors; got != 1 {
			t.Errorf("want an error about one that is no peer any more counted as stray; got %d", got)
		}
		if again := q.learned(); again.Path.Failing() {
			t.Errorf("want it to join again without failures; got %+v", again.Path.Failures)
		}
	})
}

func TestStaticPeerThatRefusesIsSentToAllTheSame(t *testing.T) {
	inQuiet(t, func(t *testing.T, q *quiet) {
		p := q.static()
		for n := range 1000 {
			q.fails(ReportPortClosed)
			time.Sleep(10 * time.Millisecond)
			q.wantHeld(p, false, fmt.Sprintf("%d refusals", n+1))
		}
		if q.table.Lookup(someAddr) != p {
			t.Error("want the static peer there; it is forgotten")
		}
	})
}

// What is held for another reason (see neighbours) has not failed before.
func TestPeerThatIsHeldForAMomentCanFail(t *testing.T) {
	for _, static := range []bool{false, true} {
		inQuiet(t, func(t *testing.T, q *quiet) {
			if static {
				q.static()
			} else {
				q.learned()
			}
			p := q.table.Lookup(someAddr)
			quote := q.sends()
			time.Sleep(3 * time.Second)
			p.Path.HoldUntil.Store(q.since(time.Now().Add(500 * time.Millisecond)))
			q.undeliverable(someAddr, ReportUnreachable, quote)
			time.Sleep(600 * time.Millisecond)
			q.wantHeld(p, true, "unreachable while it was held for a moment")
		})
	}
}

// A reload can make a peer static, or learned, whatever its state.
func TestQuarantineOutlivesAReload(t *testing.T) {
	inQuiet(t, func(t *testing.T, q *quiet) {
		p := q.learned()
		q.fails(ReportUnreachable)
		q.wantHeld(p, true, "as a learned peer")
		if q.static() != p || !p.Static() {
			t.Fatal("want the peer to become static; it does not")
		}
		q.wantHeld(p, true, "as a static peer")
		time.Sleep(firstRetry)
		q.wantRetries(p, 0, 2*firstRetry, 4*firstRetry)
		q.hears(p)
		time.Sleep(time.Second)
		q.wantRetries(p, 0, firstRetry)
		q.SetStatic(nil)
		if q.table.Lookup(someAddr) != p || p.Static() {
			t.Fatal("want the peer to become a learned one; it does not")
		}
		q.wantRetries(p, 0, 2*firstRetry)
	})
}
