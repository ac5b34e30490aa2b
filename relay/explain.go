package relay

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"udprelay/peers"
)

// A Step is one of those that lead to a decision.
type Step = peers.Step

// An Explanation says what would happen now to a datagram from an address, and
// to one for it.
type Explanation struct {
	Addr netip.AddrPort // as it was asked about, unmapped; port 0: any that no peer has
	Peer *peers.Peer    // the peer at Addr, or the sender that it belongs to, or nil

	// Others are the peers at the address but with other ports, in the order in
	// which they joined: the first few of OthersCount.
	Others      []netip.AddrPort
	OthersCount int

	// From are the steps in the order in which a datagram from Addr takes them.
	// The one with Decides, if there is one, is the end of its way; those after
	// it say what would count if it did not. A known peer takes the first and
	// then goes on with "may send": those between say what would become of it
	// if it were none. To are the steps for the datagrams of others.
	From, To []Step

	// Relayed and Sent say whether a datagram from Addr would be relayed, and
	// whether those of others would be sent to it; the verdicts why, each in a
	// sentence.
	Relayed, Sent          bool
	FromVerdict, ToVerdict string
}

// mostOthers is how many an Explanation lists.
const mostOthers = 16

// Explain says what would happen to datagrams from and to addr; port 0 stands
// for any that no peer has. It changes nothing: no limit is used up, nobody
// joins or is refreshed. Any goroutine may call it.
func (r *Relay) Explain(addr netip.AddrPort) Explanation {
	addr, _ = numericZone(unmap(addr))
	now := time.Now()
	admission := r.table.Explain(addr, now)
	x := explaining{
		Explanation: Explanation{Addr: addr, Peer: admission.Peer, From: admission.Steps},
		relay:       r, admission: admission, at: r.since(now), limits: r.limits.Load(),
	}
	if x.Peer != nil {
		x.state = r.PeerState(x.Peer)
		x.From[0].Decides = false // about admission only
	}
	x.others()
	x.from()
	x.to()
	return x.Explanation
}

// An explaining is an Explanation in the making.
type explaining struct {
	Explanation
	relay     *Relay
	admission peers.Admission
	at        int64
	limits    *Limits
	state     PeerState // of Peer
	why       string    // what the step says that decides about the datagram
}

func (x *explaining) others() {
	for _, p := range x.relay.table.Peers() {
		if p == x.Peer || p.Addr().Addr() != x.Addr.Addr() {
			continue
		}
		if x.OthersCount++; len(x.Others) < mostOthers {
			x.Others = append(x.Others, p.Addr())
		}
	}
}

// name is what sentences call the address.
func (x *explaining) name() string {
	if x.Addr.Port() == 0 {
		return x.Addr.Addr().String()
	}
	return x.Addr.String()
}

// stepFrom adds a step for datagrams from Addr. If it fails, the datagram goes
// no further.
func (x *explaining) stepFrom(name, result string, fails bool) {
	decides := fails && x.why == ""
	if decides {
		x.why = result
	}
	x.From = append(x.From, Step{Name: name, Result: result, Decides: decides})
}

func (x *explaining) from() {
	switch verdict := x.admission.Verdict; verdict {
	case peers.Known, peers.Joined:
	case peers.NeedsCookie, peers.NeedsSecret:
		x.FromVerdict = fmt.Sprintf("not relayed until it has proved itself: %s", x.admission.Why)
		return
	default:
		x.FromVerdict = fmt.Sprintf("%s: %s", refusalWords[verdict], x.admission.Why)
		return
	}
	p := x.Peer
	switch {
	case p != nil && p.Banned():
		x.stepFrom("may send", "it is static and banned", true)
	case x.admission.May&peers.MaySend == 0:
		x.stepFrom("may send", onlyMay(x.admission.May), true)
	default:
		x.stepFrom("may send", "yes", false)
	}
	x.limit("limit of its datagrams", x.limits.PeerDatagrams, p, func(p *peers.Peer) *peers.Bucket { return &p.Path.Datagrams })
	x.limit("limit of its bytes", x.limits.PeerBytes, p, func(p *peers.Peer) *peers.Bucket { return &p.Path.Bytes })
	if x.state.State == StateCut {
		x.stepFrom("storm", "yes: it is cut; what it returns is dropped, and what it produces passes", false)
	} else {
		x.stepFrom("storm", "no", false)
	}
	if x.state.State == StateOverloading {
		x.stepFrom("fair share", "it is over it: what is over was dropped in the last seconds", false)
	} else {
		x.stepFrom("fair share", "nothing was dropped lately", false)
	}
	receivers, reached := x.receivers()
	x.stepFrom("receivers", fmt.Sprintf("%d, of which %d are sent to now", receivers, reached), false)
	if perSecond := x.limits.EgressBytes; perSecond > 0 {
		left := x.relay.egress.Left(perSecond, x.at)
		x.stepFrom("limit of what leaves", leftWords(left, perSecond, "bytes"), left == 0 && receivers > 0)
	} else {
		x.stepFrom("limit of what leaves", "none", false)
	}
	links := len(x.relay.links())
	x.stepFrom("links", fmt.Sprint(links), false)
	if x.why != "" {
		x.FromVerdict = "not relayed: " + x.why
		return
	}
	x.Relayed = true
	x.FromVerdict = "its datagrams would be relayed to " + plural(reached, "peer")
	if left := receivers - reached; left > 0 {
		x.FromVerdict += fmt.Sprintf(", but not to %d that cannot be reached", left)
	}
	if links > 0 {
		x.FromVerdict += " and handed to " + plural(links, "link")
	}
	if p == nil && x.admission.May&peers.MayReceive != 0 {
		x.FromVerdict += "; with the first it would become a peer"
	}
	if x.state.State == StateOverloading {
		x.FromVerdict += "; it sends more than its fair share of what this machine can relay, and what is over is dropped"
	}
	if x.state.State == StateCut {
		x.FromVerdict += "; those that it only returns would be dropped"
	}
}

// limit adds the step of a limit for each peer.
func (x *explaining) limit(name string, perSecond int, p *peers.Peer, bucket func(*peers.Peer) *peers.Bucket) {
	if perSecond <= 0 {
		x.stepFrom(name, "none", false)
		return
	}
	left := perSecond
	if p != nil {
		left = bucket(p).Left(perSecond, x.at)
	}
	x.stepFrom(name, leftWords(left, perSecond, "per peer"), left == 0)
}

func leftWords(left, perSecond int, what string) string {
	if left == 0 {
		return fmt.Sprintf("%d in a second are used up (%s)", perSecond, what)
	}
	return fmt.Sprintf("%d of %d in a second are left now (%s)", left, perSecond, what)
}

// receivers returns how many peers a datagram from Addr is due for, and how many
// of them are sent to now.
func (x *explaining) receivers() (due, reached int) {
	for _, p := range x.relay.table.Peers() {
		if p == x.Peer || !p.MayReceive() {
			continue
		}
		due++
		if !held(p, x.at) {
			reached++
		}
	}
	return due, reached
}

// stepTo adds a step for datagrams of others.
func (x *explaining) stepTo(name, result string, fails bool, verdict string) {
	decides := fails && x.ToVerdict == ""
	if decides {
		x.ToVerdict = verdict
	}
	x.To = append(x.To, Step{Name: name, Result: result, Decides: decides})
}

func (x *explaining) to() {
	p := x.Peer
	if p == nil {
		x.stepTo("known peer", "no", true, cmp.Or(x.nameAPort(), "nothing is sent to it: it is no peer"))
		return
	}
	x.stepTo("known peer", "yes", false, "")
	switch {
	case p.Banned():
		x.stepTo("may receive", "it is static and banned", true, "nothing is sent to it: it is banned")
	case !p.MayReceive():
		verdict := "nothing is sent to it: " + onlyMay(p.May())
		if name := x.nameAPort(); name != "" {
			verdict += "; " + name
		}
		x.stepTo("may receive", onlyMay(p.May()), true, verdict)
	default:
		x.stepTo("may receive", "yes", false, "")
	}
	if until := p.Path.HoldUntil.Load(); x.at < until {
		text := "until " + x.relay.began.Add(time.Duration(until)).UTC().Format(timeWords) + ", or until it is heard"
		x.stepTo("quarantine", text, true, "nothing is sent to it "+text+": the network says that it cannot be reached")
	} else {
		x.stepTo("quarantine", "no", false, "")
	}
	if perSecond := x.limits.EgressBytes; perSecond > 0 {
		left := x.relay.egress.Left(perSecond, x.at)
		x.stepTo("limit of what leaves", leftWords(left, perSecond, "bytes"), left == 0, "nothing is sent to it just now: the limit of what leaves is used up")
	} else {
		x.stepTo("limit of what leaves", "none", false, "")
	}
	reason, failed, lately := lastFailure(p, x.at)
	if ago := time.Duration(x.at - failed).Round(100 * time.Millisecond); lately {
		x.stepTo("last failure", fmt.Sprintf("%v, %v ago", reason, ago), false, "")
	}
	what, reported, _, counts := x.relay.lastReport(p, x.at)
	if ago := time.Duration(x.at - reported).Round(100 * time.Millisecond); counts {
		x.stepTo("last report of the network", fmt.Sprintf("%v, %v ago", what, ago), false, "")
	}
	if x.ToVerdict == "" {
		x.Sent = true
		x.ToVerdict = "the datagrams of others are sent to it"
		switch {
		case lately:
			x.ToVerdict += ", but lately did not leave: " + failureWords[reason]
		case counts:
			x.ToVerdict += ", but lately did not all arrive: " + reportWords[what]
		}
	}
}

// nameAPort says which peers there are at Addr if it has no port, or nothing.
func (x *explaining) nameAPort() string {
	switch {
	case x.Addr.Port() != 0 || x.OthersCount == 0:
		return ""
	case x.OthersCount == 1:
		return fmt.Sprintf("there is 1 peer at %s: name its port", x.name())
	}
	return fmt.Sprintf("there are %d peers at %s: name the port of one", x.OthersCount, x.name())
}

// failureWords say what a failure is.
var failureWords = map[Drop]string{
	DropUnreachable: "this machine has no route to it",
	DropFiltered:    "a firewall of this machine forbids it",
	DropSendFailed:  "the system refused them",
	DropQueueFull:   "it takes them too slowly",
}

func onlyMay(m peers.May) string {
	if m == peers.MayNothing {
		return "it may do nothing"
	}
	return fmt.Sprintf("it may only %v", m)
}

// timeWords is how times are written in sentences.
const timeWords = "2006-01-02T15:04:05.000Z07:00"

// refusalWords begin the sentence about one that is refused.
var refusalWords = map[peers.Verdict]string{
	peers.RefusedByRule: "refused",
	peers.Banned:        "refused",
	peers.TableFull:     "refused: the table of peers is full",
	peers.AddressFull:   "refused: there are too many peers at its address",
	peers.JoinsTooFast:  "refused for now: too many join",
	peers.NeverAPeer:    "refused, for it can never be a peer",
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
