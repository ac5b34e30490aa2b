//go:build !nocluster

package cluster

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	maxAsks      = 4 // questions of this node under way, besides one for what is shared
	maxQuestions = 8 // questions of others that wait

	// waitingAnswers is how many bytes of messages for this node may wait: those
	// of all answers that may be on their way.
	waitingAnswers = (maxAsks + 1) * (MaxAnswer + maxParts*(maxMessage-partBytes))

	// After so many parts the answer waits until they are on their way, so that
	// datagrams get their turn, but no longer than partsWait.
	partsAtOnce = 8
	partsWait   = silentFor / 10
)

// ID returns what the node is called in messages: 16 hexadecimal digits, new at
// each start.
func (c *Cluster) ID() string { return hex.EncodeToString(c.node[:]) }

// Ask asks another node, by its ID, and returns what the [Options.Answer] of
// that node says. The error is one of this package's, that of ctx, or
// [net.ErrClosed].
func (c *Cluster) Ask(ctx context.Context, nodeID string, question []byte) (answer []byte, err error) {
	id, ok := parseID(nodeID)
	if !ok {
		return nil, fmt.Errorf("cluster: ask node %q: %w", nodeID, ErrNoNode)
	}
	if answer, err = c.ask(ctx, id, topicAnswer, question); err != nil {
		return nil, fmt.Errorf("cluster: ask node %q: %w", nodeID, err)
	}
	return answer, nil
}

func parseID(text string) (id nodeID, ok bool) {
	p, err := hex.DecodeString(text)
	if err != nil || len(p) != len(id) {
		return id, false
	}
	return nodeID(p), true
}

// ask asks a node about a topic.
func (c *Cluster) ask(ctx context.Context, to nodeID, about topic, text []byte) ([]byte, error) {
	if len(text) > MaxQuestion {
		return nil, ErrTooLong
	}
	if c.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	a := c.asks.begin(to, about)
	if a == nil {
		return nil, ErrBusy
	}
	defer c.asks.end(a)
	// Only now, so that it is told if the node goes from here on.
	at, ok := c.nodes.beaten(to, time.Now())
	if !ok {
		return nil, ErrNoNode
	}
	if err := c.publishQuestion(a, &question{to: to, at: at, about: about, text: text}); err != nil {
		return nil, err
	}
	return a.await(ctx, c.ctx, silentFor)
}

// publishQuestion publishes q under the next number: who is asked wants them
// ascending.
func (c *Cluster) publishQuestion(a *ask, q *question) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	h := header{kind: kindQuestion, node: c.node, number: c.asks.number(a)}
	return c.publishTo(q.to, h, q.append)
}

// publishTo publishes a message for one node.
func (c *Cluster) publishTo(to nodeID, h header, body func([]byte) []byte) error {
	p := body(make([]byte, headerBytes, headerBytes+maxHead+partBytes+sealBytes))
	if err := c.conn.Publish(c.subjectOf(to), finish(p, h, c.sealer)); err != nil {
		return fmt.Errorf("publish to NATS: %w", err)
	}
	return nil
}

// subjectOf returns the subject of what is for one node.
func (c *Cluster) subjectOf(id nodeID) string {
	return "udprelay." + c.options.Room + ".node." + hex.EncodeToString(id[:])
}

// An ask is a question of this node that is under way.
type ask struct {
	to     nodeID
	about  topic
	number uint64        // 0: it is not sent yet; guarded by the asks
	more   chan struct{} // holds one: a part came
	done   chan error    // holds one: nil when all parts are there

	parts [][]byte // guarded by the asks until done; nil: not here yet
	left  int      // guarded by the asks: of parts, how many are missing
}

// await waits for the answer.
func (a *ask) await(ctx, closed context.Context, silence time.Duration) ([]byte, error) {
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		select {
		case <-a.more:
			timer.Reset(silence)
		case err := <-a.done:
			if err != nil {
				return nil, err
			}
			return slices.Concat(a.parts...), nil
		case <-timer.C:
			return nil, ErrSilent
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-closed.Done():
			return nil, net.ErrClosed
		}
	}
}

// finish ends the ask with an error, if it has not ended.
func (a *ask) finish(err error) {
	select {
	case a.done <- err:
	default:
	}
}

// asks are the questions of this node that are under way.
type asks struct {
	mu   sync.Mutex // guards what follows
	list []*ask
	last uint64 // number that was given
}

// begin makes an ask. Nil: there are too many.
func (s *asks) begin(to nodeID, about topic) *ask {
	s.mu.Lock()
	defer s.mu.Unlock()
	most, count := maxAsks, 0
	if about == topicShared {
		most = 1
	}
	for _, a := range s.list {
		if a.about == about {
			count++
		}
	}
	if count == most {
		return nil
	}
	a := &ask{to: to, about: about, more: make(chan struct{}, 1), done: make(chan error, 1)}
	s.list = append(s.list, a)
	return a
}

// number gives the next number to a.
func (s *asks) number(a *ask) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	a.number = s.last
	return a.number
}

// end forgets a, and what came for it.
func (s *asks) end(a *ask) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(other *ask) bool { return other == a })
}

// gone ends what a node is asked that goes.
func (s *asks) gone(id nodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.list {
		if a.to == id {
			a.finish(ErrNoNode)
		}
	}
}

// take takes a part of the answer of a node, and reports whether it is waited
// for.
func (s *asks) take(from nodeID, p *part) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.list, func(a *ask) bool { return a.to == from && a.number == p.question })
	if i < 0 {
		return false
	}
	a := s.list[i]
	if p.status != statusPart {
		a.finish(p.status.err())
		return true
	}
	if a.parts == nil {
		a.parts, a.left = make([][]byte, p.parts), p.parts
	}
	if len(a.parts) != p.parts || a.parts[p.index] != nil {
		return false
	}
	a.parts[p.index] = append(make([]byte, 0, len(p.text)), p.text...) // not nil
	if a.left--; a.left == 0 {
		a.finish(nil)
		return true
	}
	select {
	case a.more <- struct{}{}:
	default:
	}
	return true
}

// hearAnswer takes a part of an answer.
func (c *Cluster) hearAnswer(h *header, body []byte) {
	p, err := parsePart(body)
	switch {
	case err != nil || h.count != 0 || p.to != c.node:
		c.counters.drop(DropMalformed, 1)
	case !c.asks.take(h.node, &p):
		c.counters.drop(DropUnasked, 1)
	}
}

// hearQuestion has the question of a node answered.
func (c *Cluster) hearQuestion(h *header, sealer cipher.AEAD, body []byte) {
	q, err := parseQuestion(body)
	if err != nil || h.count != 0 || q.to != c.node {
		c.counters.drop(DropMalformed, 1)
		return
	}
	now := time.Now()
	heard := heard{unproven: true}
	if isFresh(q.at, c.since(now)) {
		heard = c.nodes.question(h.node, sealer, h.number, now)
	}
	c.note(heard)
	if heard.unproven || heard.duplicate || heard.tooMany {
		return
	}
	q.from, q.number = h.node, h.number
	q.text = bytes.Clone(q.text)
	select {
	case c.questions <- q:
	default:
		c.reply(&q, &part{status: statusBusy, parts: 1})
	}
}

// answerUntil answers questions, one at a time, until closed ends.
func (c *Cluster) answerUntil(closed context.Context) {
	for {
		select {
		case q := <-c.questions:
			c.answer(closed, &q)
		case <-closed.Done():
			return
		}
	}
}

func (c *Cluster) answer(closed context.Context, q *question) {
	text := c.think(closed, q)
	if closed.Err() != nil {
		return // the asker hears that this node goes
	}
	switch {
	case text == nil:
		c.reply(q, &part{status: statusNone, parts: 1})
		return
	case len(text) > MaxAnswer:
		c.troubles.warn("cluster: an answer is too long and is not sent", "bytes", len(text), "most", MaxAnswer)
		c.reply(q, &part{status: statusTooLong, parts: 1})
		return
	}
	p := part{status: statusPart, parts: max((len(text)+partBytes-1)/partBytes, 1)}
	for ; p.index < p.parts; p.index++ {
		p.text = text[p.index*partBytes : min((p.index+1)*partBytes, len(text))]
		if !c.reply(q, &p) || (p.index+1)%partsAtOnce == 0 && !c.flush(closed, q.from) {
			return // the asker notices
		}
	}
}

// think returns the answer to q, nil if there is none.
func (c *Cluster) think(closed context.Context, q *question) []byte {
	switch {
	case q.about == topicShared && c.options.Shared != nil:
		if p := c.options.Shared.Export(); p != nil {
			return p
		}
		return []byte{}
	case q.about == topicAnswer && c.options.Answer != nil:
		ctx, cancel := context.WithTimeout(closed, silentFor)
		defer cancel()
		return c.options.Answer(ctx, q.text)
	}
	return nil
}

// reply publishes a part of the answer to q and reports whether that went well.
func (c *Cluster) reply(q *question, p *part) bool {
	p.to, p.question = q.from, q.number
	h := header{kind: kindAnswer, node: c.node, number: c.answers.Add(1)}
	return c.publishTo(p.to, h, p.append) == nil
}

// flush waits until the NATS server has taken what was published, and the route
// to the node, if there is one, has room. It reports whether to go on.
func (c *Cluster) flush(closed context.Context, to nodeID) bool {
	ctx, cancel := context.WithTimeout(closed, silentFor)
	defer cancel()
	if c.conn.FlushWithContext(ctx) != nil {
		return false
	}
	look := time.NewTicker(time.Millisecond) // nothing tells when there is room
	defer look.Stop()
	for until := time.Now().Add(partsWait); c.pending(to) > partsAtOnce*partBytes && time.Now().Before(until); {
		select {
		case <-look.C:
		case <-closed.Done():
			return false
		}
	}
	return true
}

// pending returns how many bytes wait for the route to a node.
func (c *Cluster) pending(to nodeID) int {
	want := hex.EncodeToString(to[:])
	for _, info := range c.connections() {
		if _, id := nodeOf(info.RemoteName); id == want {
			return info.Pending
		}
	}
	return 0
}
