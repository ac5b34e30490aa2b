package admin

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"time"
)

// A Status is what a daemon does, as a whole. Counts are since it was started.
type Status struct {
	Version string    `json:"version"`
	Started Time      `json:"started"`
	Now     Time      `json:"now"`
	Uptime  Seconds   `json:"uptime_seconds"`
	Config  string    `json:"config"` // the name of the configuration file, or none
	Listen  string    `json:"listen"`
	Way     string    `json:"way"` // how datagrams leave
	Ready   bool      `json:"ready"`
	Peers   PeerCount `json:"peers"`

	Counters Counters          `json:"counters"`
	Drops    map[string]uint64 `json:"drops"`   // by reason, every reason there is
	Reports  map[string]uint64 `json:"reports"` // what the network (ICMP) reported about delivered datagrams, by kind, every kind there is
	Rules    []Rule            `json:"rules"`   // in the order in which they decide; the last stands for no rule
	Rates    Rates             `json:"rates"`
	Talks    []Talk            `json:"talks"` // the fastest first
	Buffers  Buffers           `json:"buffers"`
	State    State             `json:"state"`
	Gateway  Gateway           `json:"gateway"`
	Cluster  Cluster           `json:"cluster"`
}

// A State is whether peers and bans outlive the relay.
type State struct {
	File     string  `json:"file"`            // that they are saved to; "": they are not
	Failing  Seconds `json:"failing_seconds"` // for how long it cannot be written; 0: it can
	Error    string  `json:"error"`           // why
	Hint     string  `json:"hint"`
	InMemory bool    `json:"in_memory"` // what it would hold outlives a restart of the service all the same
}

// A PeerCount is how many peers there are.
type PeerCount struct {
	Learned     int `json:"learned"`
	Static      int `json:"static"`
	Connected   int `json:"connected"` // of the learned ones, clients of a gateway
	Receivers   int `json:"receivers"`
	Max         int `json:"max"` // of the learned ones; 0: no limit
	Quarantined int `json:"quarantined"`
	Banned      int `json:"banned"`  // static peers that are banned
	Senders     int `json:"senders"` // addresses that may only send: they are not peers and take no place
}

// Counters are counts of datagrams and payload bytes.
type Counters struct {
	Received       uint64 `json:"received"` // what came in, whatever became of it
	ReceivedBytes  uint64 `json:"received_bytes"`
	KeepAlives     uint64 `json:"keep_alives"`     // of Received, the empty ones, and proofs
	Relayed        uint64 `json:"relayed"`         // of Received, what was sent on
	NoReceiver     uint64 `json:"no_receiver"`     // of Relayed, what there was no receiver for
	Due            uint64 `json:"due"`             // receivers that what is in Relayed was to reach
	Delivered      uint64 `json:"delivered"`       // given to the kernel, once a receiver
	DeliveredBytes uint64 `json:"delivered_bytes"` // the same
	Answers        uint64 `json:"answers"`         // sent to those that have to prove themselves
	AnswerBytes    uint64 `json:"answer_bytes"`
	StrayErrors    uint64 `json:"stray_errors"` // errors of the network that match nothing that was sent
	Joined         uint64 `json:"joined"`       // learned peers that came
	Left           uint64 `json:"left"`         // and went
}

// A Rule is a rule of access, and what it has done since it holds.
type Rule struct {
	From    string `json:"from"` // "": no rule matched
	May     string `json:"may"`
	Join    string `json:"join"`
	Refused uint64 `json:"refused"` // datagrams of senders that it keeps out
	Peers   int    `json:"peers"`   // learned peers and senders that it lets in
}

// Rates are counts in a second, lately.
type Rates struct {
	Received       float64 `json:"received"`
	ReceivedBytes  float64 `json:"received_bytes"`
	Delivered      float64 `json:"delivered"`
	DeliveredBytes float64 `json:"delivered_bytes"`
	Dropped        float64 `json:"dropped"`
}

// A Talk is two peers that answer each other more than a thousand times per
// second, with payloads that differ: perhaps a loop that changes what goes round.
// The relay cannot tell that from a conversation.
type Talk struct {
	A         netip.AddrPort `json:"a"`
	B         netip.AddrPort `json:"b"`
	PerSecond uint64         `json:"per_second"` // datagrams from each of the two
}

// Buffers are those of the socket, in bytes as the kernel counts them; 0: it
// does not say.
type Buffers struct {
	Receive     int `json:"receive"`
	ReceiveUsed int `json:"receive_used"`
	Send        int `json:"send"`
	SendUsed    int `json:"send_used"`
}

// A Gateway serves clients without UDP.
type Gateway struct {
	Listeners   []GatewayListener `json:"listeners"`   // none: it is off
	Connections int               `json:"connections"` // open now, handshakes included
	Limit       int               `json:"limit"`       // of them
	Accepted    uint64            `json:"accepted"`    // connections that came
	Ended       map[string]uint64 `json:"ended"`       // by why they were refused or have ended, every reason there is
}

// A GatewayListener is where clients without UDP connect.
type GatewayListener struct {
	Transport string `json:"transport"` // tcp, tls, ws, wss
	Listen    string `json:"listen"`
	Clients   int    `json:"clients"` // connected now
}

// A Peer is what is known of a peer.
type Peer struct {
	Node      string         `json:"node,omitempty"` // of a cluster; "": this one
	Address   netip.AddrPort `json:"address"`
	Transport string         `json:"transport"` // udp; of a client of a gateway tcp, tls, ws, wss
	Static    bool           `json:"static"`
	Sender    bool           `json:"sender"`         // an address that may only send, from any port: that in Address is 0
	Name      string         `json:"name,omitempty"` // of a static one, as configured
	May       string         `json:"may"`
	JoinedBy  string         `json:"joined_by"` // open, cookie, secret, static, connection
	Joined    Time           `json:"joined"`
	Heard     *Time          `json:"heard"`   // null: never
	Expires   *Time          `json:"expires"` // null: never
	State     string         `json:"state"`   // ok, quarantined, cut, banned, overloading, failing, silent

	Received       uint64            `json:"received"` // from it, keep-alives included
	ReceivedBytes  uint64            `json:"received_bytes"`
	Delivered      uint64            `json:"delivered"` // to it
	DeliveredBytes uint64            `json:"delivered_bytes"`
	Dropped        map[string]uint64 `json:"dropped"` // by reason, both ways
	DroppedTotal   uint64            `json:"dropped_total"`
	Reported       map[string]uint64 `json:"reported"` // what the network reported about datagrams for it, by kind

	ReceivedRate       float64 `json:"received_rate"`
	ReceivedBytesRate  float64 `json:"received_bytes_rate"`
	DeliveredRate      float64 `json:"delivered_rate"`
	DeliveredBytesRate float64 `json:"delivered_bytes_rate"`
}

// AddressText writes the address of a peer, or of a sender, which has any port:
// 192.0.2.7:*.
func AddressText(addr netip.AddrPort) string {
	if addr.Port() == 0 {
		return strings.TrimSuffix(addr.String(), "0") + "*"
	}
	return addr.String()
}

// Connected reports whether the peer is a client of a gateway.
func (p *Peer) Connected() bool { return p.Transport != "" && p.Transport != "udp" }

// A PeerPage is a part of the peers.
type PeerPage struct {
	Total   int    `json:"total"`   // peers there are
	Matched int    `json:"matched"` // of them, those that the query asks for
	Offset  int    `json:"offset"`
	Peers   []Peer `json:"peers"`
}

// A Why says what would happen now to datagrams from an address and for it, and
// what has happened to those that were dropped.
type Why struct {
	Address string `json:"address"`
	Verdict string `json:"verdict"` // of those from it, and of those for it
	Would   []Step `json:"would"`   // in the order in which the relay decides
	Peer    *Peer  `json:"peer"`    // null: there is none at the address
	Did     []Did  `json:"did"`

	Reports []NetworkReport `json:"reports,omitempty"` // about datagrams for the peer
}

// A Step is one of those that lead to a decision.
type Step struct {
	Step    string `json:"step"`
	Result  string `json:"result"`
	Decides bool   `json:"decides"` // no later step counts
}

// A Did is datagrams that were dropped for a reason.
type Did struct {
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"` // the access rule that decided
	From   string `json:"from,omitempty"` // the sender, if it was no peer
	Count  uint64 `json:"count"`
	Last   *Time  `json:"last"` // null: not known
}

// A NetworkReport is what the network (ICMP) reported about delivered datagrams.
type NetworkReport struct {
	Kind  string `json:"kind"`
	Count uint64 `json:"count"`
	Last  *Time  `json:"last"` // null: not known
}

// A Time is written as RFC 3339 says, in UTC with milliseconds.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes t.
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format(timeLayout))
}

// UnmarshalJSON reads t.
func (t *Time) UnmarshalJSON(text []byte) (err error) {
	var written string
	if err = json.Unmarshal(text, &written); err == nil {
		t.Time, err = time.Parse(time.RFC3339, written)
	}
	return err
}

// Seconds is a duration that is written as a number of seconds.
type Seconds struct{ time.Duration }

// MarshalJSON writes s to the millisecond, and what is less than a second, such
// as a round trip, to the microsecond.
func (s Seconds) MarshalJSON() ([]byte, error) {
	digits := 1e3
	if s.Abs() < time.Second {
		digits = 1e6
	}
	return json.Marshal(math.Round(s.Duration.Seconds()*digits) / digits)
}

// UnmarshalJSON reads s.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	var seconds float64
	err := json.Unmarshal(text, &seconds)
	s.Duration = time.Duration(seconds * float64(time.Second))
	return err
}
