//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A trouble is what stands against this node at NATS.
type trouble struct {
	mu    sync.Mutex      // guards what follows
	away  string          // why there is no connection, as far as it is known
	lacks string          // what the connection that there is is not good for
	told  map[string]bool // why there was none, as it was logged since there was one
	was   bool            // there was a connection
}

// text returns what NATS has said last against the node, as it is now.
func (t *trouble) text(connected bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if connected {
		return t.lacks
	}
	return t.away
}

// over notes that there is a connection. It reports whether that is news: there
// was one before, or trouble.
func (t *trouble) over() (again, news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	again, news = t.was, t.was || t.away != ""
	t.away, t.lacks, t.told, t.was = "", "", nil, true
	return again, news
}

// noConnection notes and tells why there is no connection to NATS.
func (c *Cluster) noConnection(why string) {
	if c.conn.dialing.Err() != nil {
		return // it is wanted no more
	}
	t := &c.trouble
	t.mu.Lock()
	defer t.mu.Unlock()
	t.away = why
	if t.told[why] || !c.troubles.first(why, "cluster: there is no connection to NATS, it is tried again", "error", why) {
		return
	}
	if t.told == nil || len(t.told) == maxFirsts {
		t.told = make(map[string]bool)
	}
	t.told[why] = true
}

// saidNo notes that a server does not let the node in, as it has said it. Of
// several servers the client keeps that to itself if the next is not there.
func (c *Cluster) saidNo(text string) {
	text = strings.ToLower(strings.Trim(strings.TrimSpace(text), "'"))
	switch {
	case c.conn.now() != nil:
	case text == nats.AUTHORIZATION_ERR:
		c.noConnection(c.conn.reason(nats.ErrAuthorization))
	case text == nats.AUTHENTICATION_EXPIRED_ERR, text == nats.ACCOUNT_AUTHENTICATION_EXPIRED_ERR:
		c.noConnection(c.conn.reason(nats.ErrAuthExpired))
	case text == nats.AUTHENTICATION_REVOKED_ERR:
		c.noConnection(c.conn.reason(nats.ErrAuthRevoked))
	}
}

// lacking notes and tells what the connection to NATS is not good for. What was
// noted first stays until the connection is made anew.
func (c *Cluster) lacking(what string) {
	c.trouble.mu.Lock()
	if c.trouble.lacks == "" {
		c.trouble.lacks = what
	}
	c.trouble.mu.Unlock()
	c.troubles.once(what, "cluster: NATS does not do what the node needs", "error", what)
}

// connected notes that there is a connection to NATS. That line is not limited:
// there is one for each connection at most.
func (c *Cluster) connected(client *nats.Conn) {
	again, news := c.trouble.over()
	level, message := slog.LevelDebug, "cluster: connected to NATS"
	if news {
		level = slog.LevelInfo
	}
	if again {
		message += " again"
	}
	c.log.Log(context.Background(), level, message)
	if most := client.MaxPayload(); most < maxMessage {
		c.lacking(fmt.Sprintf("the NATS server takes only short messages, longer ones are dropped: want a greater max_payload there: %d bytes, not %d", maxMessage, most))
	}
}

// disconnected notes that a connection to NATS was lost. What the server has
// said before says more.
func (c *Cluster) disconnected(_ *nats.Conn, err error) {
	c.trouble.mu.Lock()
	known := c.trouble.away != ""
	c.trouble.mu.Unlock()
	if err != nil && !known {
		c.noConnection(lost(err))
	}
	c.conn.connected.Store(false)
}

// failed takes what the client of NATS says besides.
func (c *Cluster) failed(client *nats.Conn, _ *nats.Subscription, err error) {
	switch {
	case errors.Is(err, nats.ErrSlowConsumer):
		c.troubles.warn("cluster: the relay takes messages too slowly, some are dropped")
	case errors.Is(err, nats.ErrPermissionViolation):
		c.lacking(forbidden(err, c.options.Room, c.nodeSubject))
	case errors.Is(err, nats.ErrMaxSubscriptionsExceeded):
		c.lacking("too many subscriptions: want a greater max_subscriptions at the NATS server")
	case c.conn.now() == nil, isOfUser(err):
		c.noConnection(c.conn.reason(err))
	default:
		c.troubles.warn("cluster: NATS says", "error", cut(err.Error()))
	}
}

// isOfUser reports whether the server does not let the user in, or no longer.
func isOfUser(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired)
}

// lost says how a connection was lost.
func lost(err error) string {
	const text = "the connection is lost"
	switch {
	case errors.Is(err, io.EOF):
		return text
	case errors.Is(err, nats.ErrStaleConnection):
		return text + ": the server says nothing any more"
	default:
		return text + ": " + plainly(err, writeDeadline)
	}
}

// reason says why a server was not connected to, and what would be right.
func (n *connection) reason(err error) string {
	var (
		called *net.OpError
		silent net.Error
	)
	if last := n.failed.Load(); last != nil && errors.Is(err, nats.ErrNoServers) {
		err = *last // which the client keeps to itself
	}
	errors.As(err, &called)
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return "authorization violation: want a user and password, a token or credentials that the server lets in"
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return "authentication expired: want credentials that are valid"
	case errors.Is(err, nats.ErrAuthRevoked):
		return "authentication revoked: want credentials that are valid"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "TLS: the server has none: want it there, or no tls:// in the url and no certificates"
	case errors.Is(err, nats.ErrNoInfoReceived):
		return "what answers is no NATS server: want the port of clients in the url"
	case errors.Is(err, nats.ErrTLS), called != nil && called.Op == "remote error":
		return refusal(err, dialPatience)
	case called == nil || called.Addr == nil:
		return plainly(err, dialPatience)
	case called.Op == "read" && errors.As(err, &silent) && silent.Timeout():
		return fmt.Sprintf("%v %s", called.Addr, saysNothing)
	default:
		return fmt.Sprintf("%v: %s", called.Addr, plainly(err, dialPatience))
	}
}

// saysNothing is said of a server that hangs.
const saysNothing = "takes the connection and says nothing: it hangs, or wants TLS"

// forbidden says which permission is missing. Only the text of the error has the
// subject, in quotes, and what may not be done with it.
func forbidden(err error, room, own string) string {
	what, text := "publish on", err.Error()
	if strings.Contains(text, "Subscription to") {
		what = "subscribe to"
	}
	all := "udprelay." + room + "."
	_, subject, _ := strings.Cut(text, `"`)
	subject, _, _ = strings.Cut(subject, `"`)
	switch {
	case !strings.HasPrefix(subject, all):
		subject = all + ">"
	case strings.HasPrefix(subject, all+"node.") && subject != own:
		subject = all + "node.*" // there is one for each node
	}
	return fmt.Sprintf("no permission to %s %s: want publish and subscribe on %s>", what, cut(subject), all)
}

// cut returns a text from elsewhere as it can be shown, without what everybody
// knows.
func cut(text string) string {
	return printableUpTo(strings.TrimPrefix(text, "nats: "), 256)
}

// between returns how long to wait before a server is called again, and notes
// what the client tells nobody: how the last try went, if there was an answer. It
// is called while the client is not busy.
func (c *Cluster) between(client *nats.Conn) time.Duration {
	if client != nil {
		if err := client.LastError(); err != nil {
			c.noConnection(c.conn.reason(err))
		}
	}
	return reconnectWait + rand.N(reconnectJitter)
}
