//go:build !nocluster

package cluster

import (
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"time"
)

const (
	beatEvery = time.Second

	// beatPause is the least time between two beats, and as much more for every
	// maxEchoes nodes there are, so that many that hear of each other are not
	// kept busy by that.
	beatPause = 50 * time.Millisecond

	// maxEchoes and maxFirstEchoes bound the length of a beat: how many nodes are
	// told of theirs, and how many if they are told for the first time.
	maxEchoes      = 16
	maxFirstEchoes = 64

	// maxBeat is the longest beat that is read.
	maxBeat = 8 << 10
)

// A beat is what a node says of itself, each second, when it hears of another
// and when what is shared has changed. Its form is JSON; fields that are not known are passed over, so
// that later versions can add some.
type beat struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Peers   int             `json:"peers"`
	In      float64         `json:"in"`
	Out     float64         `json:"out"`
	At      int64           `json:"at"` // nanoseconds since its start
	Leaving bool            `json:"leaving,omitempty"`
	Next    uint64          `json:"next"`             // number of the next datagram
	Shared  *digest         `json:"shared,omitempty"` // of what is shared; nil: nothing
	Echo    map[string]echo `json:"echo,omitempty"`   // by the ID of the node whose beat it was
}

// An echo lets a node know its round trip: when it said to have beaten, and
// for how many nanoseconds that was held here.
type echo struct {
	At   int64 `json:"at"`
	Held int64 `json:"held"`
}

// rates are datagrams a second, as in Stats.
type rates struct{ in, out float64 }

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
	defer c.beat(true)
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var m meter
	for {
		now := time.Now()
		if now.Sub(m.at) >= beatEvery/2 { // not if beats follow each other fast
			in, out := m.rates(now, c.counters.receivedDatagrams.Load(), c.counters.publishedDatagrams.Load())
			c.rates.Store(&rates{in, out})
		}
		c.beat(false)
		c.look(now)
		c.countSlow()
		c.sayDrops(now, false)
		select {
		case <-stop:
			return
		case <-tick.C:
		case <-c.kick:
		}
		select {
		case <-stop:
			return
		case <-time.After(c.nodes.pause() - time.Since(now)):
		}
	}
}

// beatSoon has a beat published at once, or if there was one a moment ago, in a
// moment. What happened before the call is in it.
func (c *Cluster) beatSoon() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// look tells which nodes came and went.
func (c *Cluster) look(now time.Time) {
	for _, n := range c.nodes.look(now) {
		c.moves.tell(n.level(), "cluster: a node "+n.String(), "node", n.name, "id", hex.EncodeToString(n.id[:]))
		if !n.here {
			c.asks.gone(n.id)
		}
		c.news.tell()
	}
}

// beat publishes one beat. It is not told if that fails: the others notice.
func (c *Cluster) beat(leaving bool) {
	now := time.Now()
	echoes, more := c.nodes.echoes(now)
	if more {
		c.beatSoon()
	}
	learned, static := c.relay.Peers().Counts()
	r := c.rates.Load()
	b := beat{
		Name: c.options.Name, Version: c.options.Version, Peers: learned + static,
		In: r.in, Out: r.out, At: c.since(now), Leaving: leaving,
		Next: c.published.Load() + 1, Echo: echoes,
	}
	if c.options.Shared != nil {
		b.Shared = new(digest(c.options.Shared.Digest()))
	}
	body, err := json.Marshal(&b)
	if err != nil {
		c.log.Warn("cluster: no heartbeat", "error", err)
		return
	}
	p := append(make([]byte, headerBytes, headerBytes+len(body)+sealBytes), body...)
	p = finish(p, header{kind: kindBeat, node: c.node, number: c.beats.Add(1)}, c.sealer)
	if err := c.conn.Publish(c.controlSubject, p); err != nil {
		c.log.Debug("cluster: no heartbeat", "error", err)
	}
}

// hearBeat takes what a node says of itself.
func (c *Cluster) hearBeat(h *header, sealer cipher.AEAD, body []byte) {
	var b beat
	if len(body) > maxBeat || json.Unmarshal(body, &b) != nil || h.count != 0 || b.Next > maxNumber {
		c.counters.drop(DropMalformed, 1)
		return
	}
	now := time.Now()
	heard := c.nodes.beat(h.node, sealer, h.number, &b, now, c.since(now))
	c.note(heard)
	if heard.duplicate || heard.tooMany {
		return
	}
	if heard.moved {
		c.look(now)
	}
	c.news.tell()
	if c.options.Shared != nil {
		select {
		case c.differ <- struct{}{}: // perhaps
		default:
		}
	}
}

// note counts and tells what a message meant.
func (c *Cluster) note(h heard) {
	switch {
	case h.tooMany:
		c.counters.drop(DropTooManyNodes, 1)
	case h.unproven:
		c.counters.drop(DropUnproven, 1)
	case h.duplicate:
		c.counters.drop(DropDuplicate, 1)
	}
	if h.lost > 0 {
		c.counters.dropped[DropLost].Add(h.lost)
	}
	if h.isNew {
		c.beatSoon()
	}
}
