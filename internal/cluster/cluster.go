//go:build !nocluster

package cluster

import (
	"context"
	"crypto/cipher"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"udprelay/relay"
)

// A Cluster is this node's part in a cluster. It is a [relay.Link].
type Cluster struct {
	// Never change after Start.
	options        Options
	relay          *relay.Relay
	log            *slog.Logger
	troubles       *limitedLog
	moves          *limitedLog // of nodes
	trouble        trouble
	dropped        dropLog // of the goroutine that beats, and then of Close
	began          time.Time
	node           nodeID
	sealer         cipher.AEAD // nil: there is no secret
	dataSubject    string
	controlSubject string
	nodeSubject    string // of what is for this node
	attachment     *relay.Attachment
	server         *server.Server // nil: NATS is elsewhere
	conn           *connection
	way            []nats.Option // to connect to NATS

	queue    *queue
	nodes    *nodes
	watch    *watch // of the configured routes
	counters counters
	rates    atomic.Pointer[rates]
	kick     chan struct{} // holds one: to beat before it is time
	news     news          // of beats, and of what is shared
	differ   chan struct{} // holds one: another node may share something else

	asking    sync.Mutex // held while a question gets its number and is published
	asks      asks
	questions chan question // of others, that wait

	// How many were published. A number is never used twice for messages of one
	// kind.
	published atomic.Uint64 // datagrams
	beats     atomic.Uint64
	answers   atomic.Uint64 // parts of them

	publishing sync.WaitGroup
	stop       chan struct{}   // closed to end publishing
	ctx        context.Context // ends when Close is called
	cancel     context.CancelFunc
	ended      sync.WaitGroup
	closing    sync.Once

	slowMu sync.Mutex // guards what follows
	subs   []*nats.Subscription
	slow   []int // of subs, how many dropped messages are counted

	datagrams []relay.Datagram // of the goroutine that receives them
}

// Start makes r one with the relays of the other nodes in the room. It returns
// when this node can take part, not when others are connected. If ctx ends
// before, so does Start. The error says what is wrong with the options, or why
// the node can not listen; that another node, or the NATS deployment of a URL,
// can not be reached is none: it is tried again until Close.
func Start(ctx context.Context, r *relay.Relay, options Options) (*Cluster, error) {
	if options.Name == "" {
		options.Name, _ = os.Hostname()
	}
	if err := options.check(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c := newCluster(r, options, nodeID(random(len(nodeID{}))))
	c.attachment = r.Attach(c) // before anything can be received
	if err := c.connect(ctx); err != nil {
		c.cancel()
		c.attachment.Detach()
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.publishing.Go(c.publish)
	c.publishing.Go(func() { c.beatUntil(c.stop) })
	if len(options.Routes) > 0 {
		c.publishing.Go(func() { c.watch.run(c.ctx) })
	}
	c.publishing.Go(func() { c.answerUntil(c.ctx) })
	if options.Shared != nil {
		c.publishing.Go(func() { c.shareUntil(c.ctx) })
	}
	return c, nil
}

// newCluster returns a node that is not connected.
func newCluster(r *relay.Relay, options Options, id nodeID) *Cluster {
	c := &Cluster{
		options: options, relay: r, log: options.Logger, began: time.Now(),
		node:           id,
		sealer:         newSealer(options.Secret, options.Room, id),
		dataSubject:    "udprelay." + options.Room + ".data",
		controlSubject: "udprelay." + options.Room + ".control",
		queue:          newQueue(options.Queue),
		nodes: &nodes{
			secret: options.Secret, room: options.Room, self: id, shared: options.Shared,
			byID: make(map[nodeID]*node),
		},
		kick:      make(chan struct{}, 1),
		differ:    make(chan struct{}, 1),
		questions: make(chan question, maxQuestions),
		stop:      make(chan struct{}),
		conn:      newConnection(&options),
		troubles:  newLimitedLog(options.Logger, logBurst),
		moves:     newLimitedLog(options.Logger, movesBurst),
		dropped:   dropLog{log: options.Logger},
	}
	c.conn.said = c.saidNo
	c.nodeSubject = c.subjectOf(id)
	c.rates.Store(new(rates))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.watch = newWatch(c)
	return c
}

// Close takes the node out of the cluster. What the relay has delivered before
// is published, as far as NATS and the other nodes take it within 80 ms. Questions
// under way end. It waits for a
// link that blocks what is being brought, as [relay.Attachment.Bring] does, and
// for Options.Answer and Options.Shared.
func (c *Cluster) Close() {
	c.closing.Do(func() {
		deadline := time.Now().Add(closePatience)
		defer time.AfterFunc(closePatience, c.conn.abort).Stop()
		c.cancel()
		if c.conn.now() == nil {
			c.conn.abort()
		}
		c.attachment.Detach()
		close(c.stop)
		c.publishing.Wait()
		c.conn.FlushTimeout(time.Until(deadline)) // the others notice if it fails
		stop := stopServer
		if c.server != nil && !drainRoutes(c.server, deadline) {
			stop = abandonServer
		}
		c.countSlow()
		c.disconnect(stop)
		c.sayDrops(time.Now(), true)
	})
}

// Addr returns where the node listens for others; nil without Options.Listen:
// others are not meant to come.
func (c *Cluster) Addr() *net.TCPAddr {
	if c.server == nil || c.options.Listen == "" {
		return nil
	}
	return c.server.ClusterAddr()
}

// Name implements [relay.Link].
func (c *Cluster) Name() string { return "cluster" }

// Deliver implements [relay.Link]. It copies the batch, as far as there is
// room, and never waits for NATS.
func (c *Cluster) Deliver(batch []relay.Datagram) {
	tooBig, noRoom := c.queue.put(batch)
	c.counters.drop(DropTooBig, tooBig)
	c.counters.drop(DropQueueFull, noRoom)
}

// publish publishes what is delivered until stop is closed, and then what is
// left.
func (c *Cluster) publish() {
	next := uint64(1)
	for {
		m := c.queue.take()
		if m == nil {
			select {
			case <-c.queue.ready:
				continue
			default:
			}
			select {
			case <-c.queue.ready:
				continue
			case <-c.stop:
				return
			}
		}
		next = c.publishMessage(m, next)
		c.queue.release(m)
	}
}

// publishMessage publishes m, the first datagram of which is number, and
// returns the number of the next.
func (c *Cluster) publishMessage(m *message, number uint64) (next uint64) {
	p := finish(m.buf, header{kind: kindDatagrams, count: m.count, node: c.node, number: number}, c.sealer)
	if err := c.conn.Publish(c.dataSubject, p); err != nil {
		c.counters.drop(DropPublishFailed, m.count)
	} else {
		c.counters.publishedMessages.Add(1)
		c.counters.publishedDatagrams.Add(uint64(m.count))
		c.counters.publishedBytes.Add(uint64(m.payloads))
	}
	c.published.Add(uint64(m.count))
	return number + uint64(m.count)
}

// since returns t in nanoseconds since the start.
func (c *Cluster) since(t time.Time) int64 { return int64(t.Sub(c.began)) }
