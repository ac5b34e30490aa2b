package peers

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"
)

// A Step is one of those that lead to a decision.
type Step struct {
	Name, Result string
	Decides      bool // no later step counts
}

// An Admission says what would become of a sender.
type Admission struct {
	Steps   []Step // in the order in which the table takes them
	Peer    *Peer  // the one that is there, or the sender that addr belongs to, or nil
	Verdict Verdict
	May     May    // what it may do as a peer, or might if it gets a place and proves what its rule asks
	Why     string // what the step that decides says; empty: nothing stands in its way
}

// Explain says what would become of a sender that has given no proof, if its
// datagram came now. Port 0 stands for any port that no peer has. It changes
// nothing: no rate is used up, no peer refreshed.
func (t *Table) Explain(addr netip.AddrPort, now time.Time) Admission {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := explanation{table: t, addr: addr, at: int64(now.Sub(t.epoch)), decided: Joined}
	if addr.Port() == 0 {
		e.Peer = t.senders.at(addr.Addr())
	} else {
		e.Peer = cmp.Or(t.index.find(addr), t.connected(addr), t.sender(addr))
	}
	e.known()
	e.never()
	e.ban()
	switch rule := e.rules(); {
	case rule == nil:
	case rule.rule.sendOnly() && (e.Peer == nil || !e.Peer.Connected()):
		e.step("places", "it only sends, so it needs none", Joined)
	default:
		e.places()
		e.proof(rule)
		e.rate()
	}
	e.Verdict = e.decided
	if e.Peer != nil {
		e.May = e.Peer.May()
	}
	return e.Admission
}

// somePort stands for any. Where the relay itself has it, one of its own
// addresses is told to be that.
const somePort = 1<<16 - 1

// An explanation is an Admission in the making.
type explanation struct {
	Admission
	table   *Table
	addr    netip.AddrPort
	at      int64
	decided Verdict // Joined: nothing has decided so far
}

// step adds one. Verdict is what it leads to; Joined: to the next step. What
// comes after a decision is told, too, for it would count at another time.
func (e *explanation) step(name, result string, verdict Verdict) {
	decides := verdict != Joined && e.decided == Joined
	if decides {
		e.decided, e.Why = verdict, result
	}
	e.Steps = append(e.Steps, Step{name, result, decides})
}

func (e *explanation) known() {
	const name = "known peer"
	switch p := e.Peer; {
	case p == nil:
		e.step(name, "no", Joined)
	case p.Static():
		e.step(name, "yes, a static one", Known)
	default:
		result := "yes"
		if p.Sender() {
			result += ", as a sender, from any port"
		}
		if p.Rule() != NoRule {
			result += ", let in by " + e.table.rules[p.Rule()].String()
		}
		if p.Connected() {
			result += ", connected by " + p.Transport().String()
		}
		e.step(name, result, Known)
	}
	e.Why = ""
}

func (e *explanation) never() {
	const name = "never a peer"
	probe := e.addr
	if probe.Port() == 0 {
		probe = netip.AddrPortFrom(probe.Addr(), somePort)
	}
	why := ""
	if e.Peer == nil || !e.Peer.Connected() {
		why = e.table.whyNeverAPeer(probe)
	}
	if why == "" && answersAnything(e.addr.Port()) {
		why = fmt.Sprintf("a service at port %d answers anything, which begins a loop; it can be static", e.addr.Port())
	}
	if why == "" {
		e.step(name, "no", Joined)
		return
	}
	e.step(name, why, NeverAPeer)
}

func (e *explanation) ban() {
	const name = "ban"
	if b := e.table.bans.covering(e.addr.Addr(), e.at); b != nil {
		e.step(name, b.String(), Banned)
		return
	}
	e.step(name, "none", Joined)
}

// rules returns the rule that decides, or nil.
func (e *explanation) rules() *RuleTally {
	decides := e.table.ruleFor(e.addr.Addr())
	for _, r := range e.table.rules[:len(e.table.rules)-1] {
		name := fmt.Sprintf("%v may %v join %v", r, r.rule.May, r.rule.Join)
		if r != decides {
			e.step(name, "does not match", Joined)
			continue
		}
		e.May = r.rule.May
		if r.rule.May == MayNothing {
			e.step(name, fmt.Sprintf("%v matches: it may do nothing", r), RefusedByRule)
			return nil
		}
		e.step(name, "matches", Joined)
		return r
	}
	e.step("access", fmt.Sprintf("no rule covers %v", e.addr.Addr()), RefusedByRule)
	return nil
}

func (e *explanation) places() {
	o := &e.table.options
	for _, place := range []struct {
		name       string
		taken, max int
		verdict    Verdict
	}{
		{"places", e.table.learned, o.Max, TableFull},
		{"places at its address", e.table.perAddress[keyOf(e.addr.Addr())], o.MaxPerAddress, AddressFull},
	} {
		switch {
		case place.max <= 0:
			e.step(place.name, fmt.Sprintf("%d taken, no limit", place.taken), Joined)
		case place.taken >= place.max:
			e.step(place.name, fmt.Sprintf("%d of %d taken: none is left", place.taken, place.max), place.verdict)
		default:
			e.step(place.name, fmt.Sprintf("%d of %d taken", place.taken, place.max), Joined)
		}
	}
}

func (e *explanation) proof(r *RuleTally) {
	const name = "proof"
	switch r.rule.Join {
	case JoinOpen:
		e.step(name, "none is asked for", Joined)
	case JoinCookie:
		e.step(name, fmt.Sprintf("%v asks for a cookie", r), NeedsCookie)
	default:
		e.step(name, fmt.Sprintf("%v asks for a cookie and the secret", r), NeedsSecret)
	}
}

func (e *explanation) rate() {
	o := &e.table.options
	if rate := e.table.addressJoins; rate != nil {
		e.joins("join rate of its address", rate.Left(e.addr.Addr(), e.at), rate.perSecond)
	} else {
		e.step("join rate of its address", "no limit", Joined)
	}
	if o.JoinsPerSecond > 0 {
		e.joins("join rate", e.table.joins.Left(o.JoinsPerSecond, e.at), o.JoinsPerSecond)
	} else {
		e.step("join rate", "no limit", Joined)
	}
}

func (e *explanation) joins(name string, left, perSecond int) {
	if left == 0 {
		e.step(name, fmt.Sprintf("%d in a second are reached", perSecond), JoinsTooFast)
		return
	}
	e.step(name, fmt.Sprintf("%d of %d in a second are left now", left, perSecond), Joined)
}
