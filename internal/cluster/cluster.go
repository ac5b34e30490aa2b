package cluster

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
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
	began          time.Time
	node           nodeID
	sealer         cipher.AEAD // nil: there is no secret
	dataSubject    string
	controlSubject string
	attachment     *relay.Attachment
	server         *server.Server // nil: NATS is elsewhere
	conn           *nats.Conn
	subs           []*nats.Subscription

	queue    *queue
	nodes    *nodes
	counters counters
	greet    chan struct{} // holds one: a node was heard for the first time

	publishing sync.WaitGroup
	stop       chan struct{} // closed to end publishing
	ended      sync.WaitGroup
	closing    sync.Once

	slowMu sync.Mutex
	slow   []int // guarded by slowMu: of subs, how many dropped messages are counted

	datagrams []relay.Datagram // of the goroutine that receives
	beats     uint64           // of the one that beats
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
	c := &Cluster{
		options: options, relay: r, log: options.Logger, began: time.Now(),
		node:           nodeID(random(len(nodeID{}))),
		dataSubject:    "udprelay." + options.Room + ".data",
		controlSubject: "udprelay." + options.Room + ".control",
		queue:          newQueue(options.Queue),
		greet:          make(chan struct{}, 1),
		stop:           make(chan struct{}),
	}
	c.sealer = newSealer(options.Secret, options.Room, c.node)
	c.nodes = &nodes{secret: options.Secret, room: options.Room, self: c.node, byID: make(map[nodeID]*node)}
	c.troubles = newLimitedLog(c.log)
	c.attachment = r.Attach(c) // before anything can be received
	if err := c.connect(ctx); err != nil {
		c.attachment.Detach()
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.publishing.Go(c.publish)
	c.publishing.Go(func() { c.beatUntil(c.stop) })
	return c, nil
}

// connect connects to NATS and subscribes.
func (c *Cluster) connect(ctx context.Context) (err error) {
	o := &c.options
	var way []nats.Option
	if o.URL == "" {
		if c.server, way, err = startServer(ctx, o, c.node); err != nil {
			return err
		}
	} else {
		way = append(way, nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort())
		if o.Credentials != "" {
			way = append(way, nats.UserCredentials(o.Credentials))
		}
		if o.TLS != nil {
			way = append(way, nats.Secure(o.TLS))
		}
	}
	c.ended.Add(1)
	way = append(way,
		nats.Name("udprelay "+o.Name),
		nats.NoEcho(),
		nats.SkipSubjectValidation(),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500*time.Millisecond),
		nats.ReconnectBufSize(-1), // what can not be said now is not said later
		nats.WriteBufferSize(2*maxMessage),
		nats.FlusherTimeout(writeDeadline),
		nats.ReconnectOnFlusherError(),
		nats.PingInterval(2*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(5*time.Second),
		nats.ErrorHandler(c.failed),
		nats.DisconnectErrHandler(c.disconnected),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			c.troubles.warn("cluster: NATS can not be reached, it is tried again", "error", err)
		}),
		nats.ConnectHandler(func(*nats.Conn) { c.log.Debug("cluster: connected to NATS") }),
		nats.ReconnectHandler(func(*nats.Conn) { c.troubles.tell(slog.LevelInfo, "cluster: connected to NATS again") }),
		nats.ClosedHandler(func(*nats.Conn) { c.ended.Done() }),
	)
	if c.conn, err = nats.Connect(o.URL, way...); err != nil {
		c.ended.Done()
		if c.server != nil {
			stopServer(c.server)
		}
		return fmt.Errorf("connect to NATS: %w", err)
	}
	for _, s := range []struct {
		subject string
		bytes   int
	}{{c.dataSubject, o.Queue}, {c.controlSubject, 1 << 20}} {
		if err := c.subscribe(s.subject, s.bytes); err != nil {
			c.disconnect()
			return fmt.Errorf("subscribe to NATS: %w", err)
		}
	}
	c.slow = make([]int, len(c.subs))
	return nil
}

// subscribe has the messages of a subject received, with at most so many bytes
// of them waiting.
func (c *Cluster) subscribe(subject string, bytes int) error {
	sub, err := c.conn.Subscribe(subject, func(m *nats.Msg) { c.receive(m.Subject, m.Data) })
	if err != nil {
		return err
	}
	c.ended.Add(1)
	sub.SetClosedHandler(func(string) { c.ended.Done() })
	c.subs = append(c.subs, sub)
	return sub.SetPendingLimits(bytes/leastEntry, bytes)
}

// disconnect ends the connection and the server, and waits for all that they
// run.
func (c *Cluster) disconnect() {
	c.conn.Close()
	c.ended.Wait()
	if c.server != nil {
		stopServer(c.server)
	}
}

// Close takes the node out of the cluster. What the relay has delivered before
// is published, as far as NATS takes it. It waits for a link that blocks what
// is being brought, as [relay.Attachment.Bring] does.
func (c *Cluster) Close() {
	c.closing.Do(func() {
		c.attachment.Detach()
		close(c.stop)
		c.publishing.Wait()
		c.conn.FlushTimeout(closePatience) // the others notice if it fails
		if c.server != nil {
			drainRoutes(c.server)
		}
		c.countSlow()
		c.disconnect()
	})
}

// Addr returns where the node listens for others; nil with a URL.
func (c *Cluster) Addr() *net.TCPAddr {
	if c.server == nil {
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
	return number + uint64(m.count)
}

// since returns t in nanoseconds since the start.
func (c *Cluster) since(t time.Time) int64 { return int64(t.Sub(c.began)) }

func (c *Cluster) failed(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		c.troubles.warn("cluster: the relay takes messages too slowly, some are dropped")
		return
	}
	c.troubles.warn("cluster: NATS says", "error", err)
}

func (c *Cluster) disconnected(_ *nats.Conn, err error) {
	if err != nil {
		c.troubles.warn("cluster: the connection to NATS is lost", "error", err)
	}
}
