//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"
)

const (
	// pullAgain is how long the same is not pulled again from a node: two nodes
	// that cannot agree do not pull forever. If it could not be had it is tried
	// again after pullRetry.
	pullAgain = time.Minute
	pullRetry = time.Second

	// pullPatience is how long a pull may take. A node that says one part after
	// the other, but no more than it must, keeps others from being asked, and so
	// has to wait for pullAgain, whatever digest it tells then.
	pullPatience = 20 * time.Second

	// maxPulls bounds what is remembered of that.
	maxPulls = 1024
)

// Changed says that Options.Shared has changed here: the others are told at
// once.
func (c *Cluster) Changed() {
	c.beatSoon()
	c.news.tell()
}

// AwaitShared waits until all nodes that are here have what is shared here, and
// have said so, or until ctx ends, and returns those that have not, by name. It
// does not wait for nodes that share nothing, nor for those that are silent,
// which are returned, too, as long as they are remembered, unless one of the same
// name is here.
func (c *Cluster) AwaitShared(ctx context.Context) (missing []Node) {
	if c.options.Shared == nil {
		return nil
	}
	for {
		next := c.news.next()
		missing, hope := c.nodes.missing(c.options.Shared.Digest(), time.Now())
		if !hope {
			return missing
		}
		select {
		case <-next:
		case <-ctx.Done():
			return missing
		case <-c.ctx.Done():
			return missing
		}
	}
}

// news tells who waits that something has changed.
type news struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu; nil: nobody waits
}

// next returns a channel that is closed when something changes from now on.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

// A pull is what was asked for: what is shared there, of a node that has beaten
// theirs, to bring it together with ours.
type pull struct {
	from         nodeID
	theirs, ours uint64
}

// pulls are the times before which pulls are not made again.
type pulls map[pull]time.Time

// may reports whether to make p now, and if so has it not made again for a
// while.
func (l pulls) may(p pull, now time.Time) bool {
	if now.Before(l[p]) || now.Before(l[anyOf(p.from)]) {
		return false
	}
	for len(l) >= maxPulls {
		oldest := p
		for other, until := range l {
			if oldest == p || until.Before(l[oldest]) {
				oldest = other
			}
		}
		delete(l, oldest)
	}
	l[p] = now.Add(pullAgain)
	return true
}

// rest has nothing pulled from a node for a while.
func (l pulls) rest(from nodeID, now time.Time) { l[anyOf(from)] = now.Add(pullAgain) }

// anyOf stands for all that is pulled from a node: two that have the same digest
// pull nothing from each other.
func anyOf(from nodeID) pull { return pull{from, math.MaxUint64, math.MaxUint64} }

// shareUntil brings what is shared here and elsewhere together until closed
// ends.
func (c *Cluster) shareUntil(closed context.Context) {
	made := make(pulls)
	for {
		select {
		case <-c.differ:
		case <-closed.Done():
			return
		}
		for closed.Err() == nil && c.pullOne(closed, made) {
		}
	}
}

// pullOne pulls from one node that has something else, and reports whether there
// was one. If that fails it is tried again when the node beats.
func (c *Cluster) pullOne(closed context.Context, made pulls) bool {
	shared := c.options.Shared
	ours, now := shared.Digest(), time.Now()
	for _, other := range c.nodes.differing(ours, now) {
		p := pull{from: other.id, theirs: other.shared, ours: ours}
		if !made.may(p, now) {
			continue
		}
		ctx, cancel := context.WithTimeout(closed, pullPatience)
		text, err := c.ask(ctx, other.id, topicShared, nil)
		cancel()
		switch {
		case err == nil:
			if err := shared.Merge(other.name, text); err != nil {
				c.troubles.warn("cluster: what is shared elsewhere is not taken here", "node", other.name, "error", err)
			}
			if shared.Digest() != ours {
				c.Changed()
			}
		case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		case errors.Is(err, context.DeadlineExceeded):
			made.rest(other.id, time.Now())
			c.troubles.warn("cluster: what is shared elsewhere takes too long to come, the node is asked again later", "node", other.name, "patience", pullPatience)
		case errors.Is(err, ErrBusy), errors.Is(err, ErrNoNode): // no trouble: another may have it too
			made[p] = time.Now().Add(pullRetry)
		default:
			if !errors.Is(err, ErrNoAnswer) && !errors.Is(err, ErrTooLong) {
				made[p] = time.Now().Add(pullRetry)
			}
			c.troubles.warn("cluster: what is shared elsewhere can not be had", "node", other.name, "error", err)
		}
		return true
	}
	return false
}

// A digest is what Shared.Digest returns, in heartbeats as 16 hexadecimal
// digits.
type digest uint64

// MarshalText implements [encoding.TextMarshaler].
func (d digest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(d)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *digest) UnmarshalText(p []byte) error {
	id, ok := parseID(string(p))
	if !ok {
		return errMalformed
	}
	*d = 0
	for _, b := range id {
		*d = *d<<8 | digest(b)
	}
	return nil
}
