package cluster

import (
	"crypto/cipher"
	"encoding/json"
	"time"
)

const (
	beatEvery = time.Second

	// maxEchoes bounds the length of a beat.
	maxEchoes = 16

	// maxBeat is the longest beat that is read.
	maxBeat = 8 << 10
)

// A beat is what a node says of itself, each second and when it hears of
// another. Its form is JSON; fields that are not known are passed over, so
// that later versions can add some.
type beat struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Peers   int             `json:"peers"`
	In      float64         `json:"in"`
	Out     float64         `json:"out"`
	At      int64           `json:"at"` // nanoseconds since its start
	Leaving bool            `json:"leaving,omitempty"`
	Echo    map[string]echo `json:"echo,omitempty"` // by the ID of the node whose beat it was
}

// An echo lets a node know its round trip: when it said to have beaten, and
// for how many nanoseconds that was held here.
type echo struct {
	At   int64 `json:"at"`
	Held int64 `json:"held"`
}

// A meter makes rates of counts.
type meter struct {
	at      time.Time
	in, out uint64
}

// rates returns datagrams a second since the last call.
func (m *meter) rates(now time.Time, in, out uint64) (perSecondIn, perSecondOut float64) {
	if seconds := now.Sub(m.at).Seconds(); !m.at.IsZero() && seconds > 0 {
		perSecondIn, perSecondOut = float64(in-m.in)/seconds, float64(out-m.out)/seconds
	}
	*m = meter{at: now, in: in, out: out}
	return perSecondIn, perSecondOut
}

// beatUntil beats until stop is closed.
func (c *Cluster) beatUntil(stop <-chan struct{}) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var m meter
	var in, out float64
	for {
		now := time.Now()
		if now.Sub(m.at) >= beatEvery/2 { // not if beats follow each other fast
			in, out = m.rates(now, c.counters.receivedDatagrams.Load(), c.counters.publishedDatagrams.Load())
		}
		c.beat(in, out, false)
		for _, n := range c.nodes.look(now) {
			c.log.Info("cluster: a node "+n.what, "node", n.name, "id", n.id)
		}
		c.countSlow()
		select {
		case <-stop:
			c.beat(in, out, true)
			return
		case <-tick.C:
		case <-c.greet:
		}
	}
}

// beat publishes one beat. It is not told if that fails: the others notice.
func (c *Cluster) beat(in, out float64, leaving bool) {
	now := time.Now()
	learned, static := c.relay.Peers().Counts()
	body, err := json.Marshal(&beat{
		Name: c.options.Name, Version: c.options.Version, Peers: learned + static,
		In: in, Out: out, At: c.since(now), Leaving: leaving, Echo: c.nodes.echoes(now),
	})
	if err != nil {
		c.log.Warn("cluster: no heartbeat", "error", err)
		return
	}
	c.beats++
	p := append(make([]byte, headerBytes, headerBytes+len(body)+sealBytes), body...)
	p = finish(p, header{kind: kindBeat, node: c.node, number: c.beats}, c.sealer)
	if err := c.conn.Publish(c.controlSubject, p); err != nil {
		c.log.Debug("cluster: no heartbeat", "error", err)
	}
}

// hearBeat takes what a node says of itself.
func (c *Cluster) hearBeat(h *header, sealer cipher.AEAD, body []byte) {
	var b beat
	if len(body) > maxBeat || json.Unmarshal(body, &b) != nil || h.count != 0 {
		c.counters.drop(DropMalformed, 1)
		return
	}
	now := time.Now()
	heard := c.nodes.beat(h.node, sealer, h.number, &b, now, c.since(now))
	c.note(heard)
}

// note counts and tells what a message meant.
func (c *Cluster) note(h heard) {
	switch {
	case h.tooMany:
		c.counters.drop(DropTooManyNodes, 1)
	case h.duplicate:
		c.counters.drop(DropDuplicate, 1)
	}
	if h.lost > 0 {
		c.counters.dropped[DropLost].Add(h.lost)
	}
	if h.isNew {
		select {
		case c.greet <- struct{}{}:
		default:
		}
	}
}
