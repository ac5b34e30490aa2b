//go:build !nocluster

package cluster

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// What a node says of itself is no number that nobody can be like.
func TestBeatsOfAbsurdNumbers(t *testing.T) {
	self, other := nodeID{1}, nodeID{2}
	now := time.Now()
	sinceStart := int64(time.Hour)
	us := hex.EncodeToString(self[:])
	for name, b := range map[string]beat{
		"huge":     {Peers: math.MaxInt, In: math.MaxFloat64, Out: math.MaxFloat64, At: math.MaxInt64, Next: maxNumber, Echo: map[string]echo{us: {At: math.MaxInt64, Held: math.MaxInt64}}},
		"negative": {Peers: math.MinInt, In: -math.MaxFloat64, Out: -1, At: math.MinInt64, Echo: map[string]echo{us: {At: math.MinInt64, Held: math.MinInt64}}},
		"wrapping": {Echo: map[string]echo{us: {At: math.MaxInt64, Held: math.MaxInt64 - int64(time.Hour)}}},
		"later":    {Echo: map[string]echo{us: {At: sinceStart + 1}}},
	} {
		table := &nodes{self: self, secret: []byte("secret"), byID: make(map[nodeID]*node)}
		if h := table.beat(other, nil, 1, &b, now, sinceStart); h.duplicate || h.tooMany {
			t.Fatalf("%s: want it heard; got %+v", name, h)
		}
		n := table.byID[other]
		if n.proven || n.rtt != 0 {
			t.Errorf("%s: want nothing proven and no round trip; got %t, %v", name, n.proven, n.rtt)
		}
		if n.peers < 0 || n.peers > mostPeers || n.in < 0 || n.in > mostRate || n.out < 0 || n.out > mostRate {
			t.Errorf("%s: want numbers as they may be; got %d peers, %v in, %v out", name, n.peers, n.in, n.out)
		}
		if list, _ := table.echoes(now); name == "negative" && len(list) != 0 {
			t.Errorf("want no echo of a time before the start; got %v", list)
		}
	}
}

// A node that comes and goes all the time, which on a NATS without a secret
// anybody can play, does not fill the log.
func TestComingAndGoingIsLoggedWithinBounds(t *testing.T) {
	url, _ := startNATS(t, -1)
	n := startNode(t, Options{Name: "one", URL: url})
	if err := n.conn.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	const beats = 4 * movesBurst
	var messages []string
	for i := range beats {
		p := []byte(numbered("NODENODE", uint64(i+1))[:headerBytes])
		p[4], p[6], p[7] = byte(kindBeat), 0, 0
		messages = append(messages, string(p)+fmt.Sprintf(`{"name":"restless","next":1,"leaving":%t}`, i%2 == 1))
	}
	inject(t, url, n.controlSubject, messages...)
	await(t, "all are heard", func() bool {
		n.nodes.mu.Lock()
		defer n.nodes.mu.Unlock()
		other := n.nodes.byID[nodeID([]byte("NODENODE"))]
		return other != nil && other.nextBeat == beats+1
	})
	lines := strings.Count(n.log.String(), "restless")
	if lines == 0 || lines > movesBurst {
		t.Errorf("want 1 to %d lines; got %d", movesBurst, lines)
	}
}

// A node that takes too long to say what it has keeps no others from being
// asked, whatever digest it tells next.
func TestSlowSharerHasToWait(t *testing.T) {
	now := time.Now()
	slow, other := nodeID{1}, nodeID{2}
	made := make(pulls)
	if !made.may(pull{slow, 7, 8}, now) {
		t.Fatal("want it asked")
	}
	made.rest(slow, now)
	for theirs := range uint64(2 * maxPulls) {
		if made.may(pull{slow, theirs, 8}, now.Add(pullAgain-1)) {
			t.Fatalf("want it not asked again, at digest %d", theirs)
		}
	}
	if !made.may(pull{other, 7, 8}, now.Add(pullPatience)) {
		t.Error("want others asked")
	}
	if !made.may(pull{slow, 7, 8}, now.Add(pullAgain+1)) {
		t.Error("want it asked after a while")
	}
}
