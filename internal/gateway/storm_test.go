package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
	"udprelay/relay"
)

// echo sends back all that comes, until the connection ends.
func (c *streamTalker) echo() {
	go func() {
		for {
			payload, err := c.hear()
			if err != nil {
				return
			}
			c.sayOnce(payload)
		}
	}()
}

// sayOnce is say where the connection may have ended.
func (c *streamTalker) sayOnce(payload string) {
	c.conn.Write(append([]byte{byte(len(payload) >> 8), byte(len(payload))}, payload...))
}

// Two that echo everything would have each datagram go round for ever.
func TestStormOfConnectedPeersIsCut(t *testing.T) {
	r := openRoom(t, nil)
	one, other, listener := r.tcp(), r.tcp(), r.udp()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				listener.hear()
			}
		}
	}()
	one.echo()
	other.echo()
	for n := range 20 {
		listener.say(fmt.Sprintf("datagram %d %s", n, strings.Repeat("x", 50)))
	}
	await(t, func() bool { return len(r.log.Lines("storm cut")) > 0 }, func() string {
		return fmt.Sprintf("want one of them cut; got %+v", r.relay.Stats())
	})
	for _, line := range r.log.Lines("storm cut") {
		if !strings.Contains(line, "peer="+one.address().String()) && !strings.Contains(line, "peer="+other.address().String()) {
			t.Errorf("want one of those that echo named; got %s", line)
		}
	}
	quiet := func() bool {
		before := r.relay.Stats().Received
		time.Sleep(100 * time.Millisecond)
		return r.relay.Stats().Received-before < 10
	}
	await(t, quiet, func() string { return "want the storm to end" })
	// What they bring again is dropped.
	n := 0
	await(t, func() bool {
		n++
		listener.say(fmt.Sprintf("after the storm %d %s", n, strings.Repeat("y", 50)))
		return r.relay.Stats().Dropped[relay.DropStorm] > 0
	}, func() string { return fmt.Sprintf("want drops of the storm counted; got %+v", r.relay.Stats()) })
	await(t, quiet, func() string { return "want it quiet" })
	r.balance()
	// The cut ones still hear.
	if p := r.peer(one.address()); p == nil || p.Transport() != peers.TCP {
		t.Errorf("want the echo still connected; got %v", p)
	}
}
