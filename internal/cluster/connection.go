//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	reconnectWait   = 500 * time.Millisecond // from one try to reach NATS to the next, and
	reconnectJitter = 100 * time.Millisecond // up to as much longer, so that not all nodes come at once

	// dialPatience is how long a NATS server may take to be connected, and once
	// more to say who it is.
	dialPatience = 5 * time.Second

	// startFor is how long the start waits for a NATS deployment.
	startFor = time.Second

	// leastWaiting is how long each message with datagrams that waits is taken
	// to be at least: besides its bytes it takes some 300 of memory.
	leastWaiting = 128

	// mostWaiting is how many others may wait: those of all answers that may be
	// on their way, and more beats and questions than nodes send in a second.
	mostWaiting = 8192
)

var errNotConnected = errors.New("there is no connection to NATS")

// A connection is that of a node to NATS, or the next one: the client of NATS
// makes it again when it is lost, but gives it up for good at an error of the
// server that it does not know. Then a new client takes its place.
//
// The client keeps its mutex while it tries to reach a server, and then each of
// its methods may wait for seconds. So those here return without it while there
// is no connection.
type connection struct {
	connected atomic.Bool
	client    atomic.Pointer[nats.Conn] // nil: there is none yet
	failed    atomic.Pointer[error]     // the last of Dial; nil: there was none
	said      func(text string)         // told what servers say is wrong

	plain, secure bool            // what servers say can be read; TLS is wanted
	dialing       context.Context // ends when nobody is to be connected to any more
	abort         context.CancelFunc
}

func newConnection(o *Options) *connection {
	n := &connection{plain: mayBePlain(o.URL), secure: o.TLS != nil || strings.Contains(strings.ToLower(o.URL), "tls://")}
	n.dialing, n.abort = context.WithCancel(context.Background())
	return n
}

// now returns the client if it is connected, or nil.
func (n *connection) now() *nats.Conn {
	if !n.connected.Load() {
		return nil
	}
	return n.client.Load()
}

// Publish publishes p if there is a connection.
func (n *connection) Publish(subject string, p []byte) error {
	client := n.now()
	if client == nil {
		return errNotConnected
	}
	return client.Publish(subject, p)
}

// FlushWithContext waits until the server has taken what was published.
func (n *connection) FlushWithContext(ctx context.Context) error {
	client := n.now()
	if client == nil {
		return errNotConnected
	}
	return client.FlushWithContext(ctx)
}

// FlushTimeout is FlushWithContext for a time.
func (n *connection) FlushTimeout(most time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return n.FlushWithContext(ctx)
}

// Dial implements nats.CustomDialer. It looks names up, too, so that both end
// with dialing.
func (n *connection) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialPatience}).DialContext(n.dialing, network, address)
	if err != nil {
		n.failed.Store(&err)
		return nil, err
	}
	return &guard{
		Conn: conn, stop: context.AfterFunc(n.dialing, func() { conn.Close() }),
		said: n.said, off: !n.plain, secure: n.secure,
	}, nil
}

// connect connects to NATS and subscribes. A deployment need not be there yet.
func (c *Cluster) connect(ctx context.Context) (err error) {
	o := &c.options
	var way []nats.Option
	var late <-chan time.Time
	if o.URL == "" {
		if c.server, way, err = startServer(ctx, o, c.node); err != nil {
			return err
		}
	} else {
		way = append(way, nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.SetCustomDialer(c.conn), nats.SkipHostLookup())
		if o.Credentials != "" {
			way = append(way, nats.UserCredentials(o.Credentials))
		}
		if o.TLS != nil {
			way = append(way, nats.Secure(o.TLS))
		}
		late = time.After(startFor)
	}
	c.way = append(way, c.ways()...)
	opened := make(chan error, 1)
	c.publishing.Go(func() { c.stayConnected(opened) })
	select {
	case err = <-opened:
	case <-late:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.conn.abort()
		close(c.stop)
		c.publishing.Wait()
		c.disconnect(stopServer)
	}
	return err
}

// ways returns what holds for all connections.
func (c *Cluster) ways() []nats.Option {
	return []nats.Option{
		nats.Name("udprelay " + c.options.Name),
		nats.NoEcho(),
		nats.SkipSubjectValidation(),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // what can not be said now is not said later
		nats.WriteBufferSize(2 * maxMessage),
		nats.FlusherTimeout(writeDeadline),
		nats.ReconnectOnFlusherError(),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(dialPatience),
		nats.ErrorHandler(c.failed),
		nats.DisconnectErrHandler(c.disconnected),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			c.noConnection(c.conn.reason(err))
		}),
	}
}

// stayConnected connects to NATS, sends opened how that went, and has a new
// client take the place of one that gives up, until stop is closed.
func (c *Cluster) stayConnected(opened chan<- error) {
	lost, err := c.open()
	opened <- err
	for err == nil {
		select {
		case err := <-lost:
			c.noConnection("NATS has ended the connection: " + plainly(err, dialPatience))
		case <-c.stop:
			return
		}
		for again := true; again; again = err != nil {
			c.ended.Wait() // what was received before comes first
			select {
			case <-time.After(reconnectWait):
			case <-c.stop:
				return
			}
			if lost, err = c.open(); err != nil {
				c.noConnection(plainly(err, dialPatience))
			}
		}
	}
}

// open makes a client. If that gives up, lost has the reason.
func (c *Cluster) open() (lost <-chan error, err error) {
	gone, came := make(chan error, 1), make(chan struct{})
	first := sync.OnceFunc(func() { close(came) })
	c.ended.Add(1)
	var made atomic.Pointer[nats.Conn]
	client, err := nats.Connect(c.options.URL, append(c.way[:len(c.way):len(c.way)],
		nats.CustomReconnectDelay(func(int) time.Duration { return c.between(made.Load()) }),
		nats.ConnectHandler(func(client *nats.Conn) {
			c.conn.connected.Store(true)
			first()
			c.connected(client)
		}),
		nats.ReconnectHandler(func(client *nats.Conn) {
			c.conn.connected.Store(true)
			first()
			c.connected(client)
		}),
		nats.ClosedHandler(func(client *nats.Conn) {
			c.conn.connected.Store(false)
			gone <- client.LastError()
			c.ended.Done()
		}))...)
	if err != nil {
		c.ended.Done()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	made.Store(client)
	c.conn.client.Store(client)
	var subs []*nats.Subscription
	for _, s := range []struct {
		subject         string
		messages, bytes int
	}{
		{c.dataSubject, c.options.Queue / leastWaiting, c.options.Queue},
		{c.controlSubject, mostWaiting, 1 << 20},
		{c.nodeSubject, mostWaiting, waitingAnswers},
	} {
		sub, err := c.subscribe(client, s.subject, s.messages, s.bytes)
		if err != nil {
			client.Close()
			return nil, fmt.Errorf("subscribe to NATS: %w", err)
		}
		subs = append(subs, sub)
	}
	c.slowMu.Lock()
	c.subs, c.slow = subs, make([]int, len(subs))
	c.slowMu.Unlock()
	if client.IsConnected() {
		<-came // from here on it is known
	}
	return gone, nil
}

// subscribe has the messages of a subject received, with at most so many of
// them waiting, and so many bytes.
func (c *Cluster) subscribe(client *nats.Conn, subject string, messages, bytes int) (*nats.Subscription, error) {
	sub, err := client.Subscribe(subject, func(m *nats.Msg) { c.receive(m.Subject, m.Data) })
	if err != nil {
		return nil, err
	}
	c.ended.Add(1)
	ended := sync.OnceFunc(c.ended.Done)
	sub.SetClosedHandler(func(string) { ended() })
	if err := sub.SetPendingLimits(messages, bytes); err != nil {
		ended() // it was closed, perhaps before there was a handler
		return nil, err
	}
	return sub, nil
}

// disconnect ends the connection, and the server by stop.
func (c *Cluster) disconnect(stop func(*server.Server)) {
	if c.conn.now() == nil {
		c.conn.abort()
	}
	if client := c.conn.client.Load(); client != nil {
		client.Close()
	}
	c.ended.Wait()
	c.conn.abort()
	if c.server != nil {
		stop(c.server)
	}
}
