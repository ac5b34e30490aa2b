//go:build !nocluster

package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// What waits for a route is bounded, and so how late a message can be: one
	// that finds three quarters of it taken is dropped on that route only. The
	// connection of the node to its own server, to which the same number holds,
	// is cut there, so that a small one does harm when processors are short.
	maxPending   = 2 * DefaultQueue // with the default queue
	leastPending = 4 << 20
	mostPending  = 64 << 20

	// writeDeadline is for how long a route may take nothing at all before it is
	// cut, and a connection to a NATS server.
	writeDeadline = 2 * time.Second

	// gossipRetries is how often a node that others told of is called again once
	// the route to it is lost, every two seconds at most: for a day. Nobody tells
	// of it again as long as the routes of the others hold.
	gossipRetries = 24 * 60 * 60

	startPatience = 10 * time.Second
	closePatience = 80 * time.Millisecond
)

// routeUser is what nodes call themselves to each other. The NATS protocol
// wants a name besides the password.
const routeUser = "udprelay"

// pending returns what bounds the bytes that wait for a route: three quarters
// of it may.
func (o *Options) pending() int {
	return min(max(maxPending/DefaultQueue*o.Queue, leastPending), mostPending)
}

// startServer runs a NATS server in this process, with its routes. The options
// are for a connection to it.
func startServer(ctx context.Context, o *Options, node nodeID) (*server.Server, []nats.Option, error) {
	host, port, err := splitHostPort(o.listen())
	if err != nil {
		return nil, nil, err
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0" // and of IPv6, as net.Listen has it
	}
	// Clients connect within the process. But a server that does not listen
	// for them never starts its routes, so it does, on the loopback interface,
	// and nobody else knows the password.
	user, password := "node", hex.EncodeToString(random(32))
	options := &server.Options{
		ServerName: fmt.Sprintf("%s-%x", natsName(o.Name), node), // two of one name would refuse each other
		Host:       "127.0.0.1", Port: server.RANDOM_PORT,
		Username: user, Password: password,
		NoSigs: true, NoLog: true, NoSystemAccount: true,
		MaxPayload:          maxMessage,
		MaxPending:          int64(o.pending()),
		NoFastProducerStall: true, // drop on a route that is behind, do not wait for it
		WriteDeadline:       writeDeadline,
		PingInterval:        2 * time.Second,
		MaxPingsOut:         2,

		// The first failure to connect is logged; Stats has the rest.
		ConnectErrorReports: 3600, ReconnectErrorReports: 3600,
		Cluster: server.ClusterOpts{
			Name: clusterName,
			Host: host, Port: port,
			Advertise:      o.Advertise,
			PoolSize:       -1, // one connection between two nodes
			Compression:    server.CompressionOpts{Mode: server.CompressionOff},
			ConnectRetries: gossipRetries,
			PingInterval:   2 * time.Second,
			MaxPingsOut:    2,
			WriteDeadline:  writeDeadline,
			WriteTimeout:   server.WriteTimeoutPolicyRetry, // what is slow but goes is not cut
		},
	}
	if len(o.Secret) > 0 {
		options.Cluster.Username, options.Cluster.Password = routeUser, routePassword(o.Secret)
	}
	if o.TLS != nil {
		options.Cluster.TLSConfig = o.TLS
		options.Cluster.TLSTimeout = 2
	}
	for _, route := range o.Routes {
		u := &url.URL{Scheme: "nats-route", Host: route}
		if len(o.Secret) > 0 {
			u.User = url.UserPassword(routeUser, options.Cluster.Password)
		}
		options.Routes = append(options.Routes, u)
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, nil, fmt.Errorf("make a NATS server: %w", err)
	}
	log := newServerLog(o.Logger, o.Routes)
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	if err := awaitServer(ctx, s, log); err != nil {
		stopServer(s)
		return nil, nil, fmt.Errorf("listen on %q for other nodes: %w", net.JoinHostPort(host, fmt.Sprint(max(port, 0))), err)
	}
	return s, []nats.Option{nats.InProcessServer(s), nats.UserInfo(user, password)}, nil
}

// awaitServer waits until s listens for routes, or has failed to.
func awaitServer(ctx context.Context, s *server.Server, log *serverLog) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	look := time.NewTicker(time.Millisecond) // nothing tells when it listens
	defer look.Stop()
	for s.ClusterAddr() == nil {
		select {
		case <-look.C:
		case text := <-log.fatal:
			return errors.New(text)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// drainRoutes waits until everything is written to the routes, at most until
// deadline, and reports whether it is. A server that shuts down cuts them.
func drainRoutes(s *server.Server, deadline time.Time) bool {
	pending := func(r *server.RouteInfo) bool { return r.Pending > 0 }
	for ; ; time.Sleep(time.Millisecond) {
		if routes, err := s.Routez(nil); err != nil || !slices.ContainsFunc(routes.Routes, pending) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// abandonServer has s stop, and waits only until it does not listen any more. A
// route that takes nothing delays the rest by twice its write deadline.
func abandonServer(s *server.Server) {
	go stopServer(s)
	for s.ClusterAddr() != nil {
		time.Sleep(time.Millisecond)
	}
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// natsName returns the name as NATS takes it: without white space.
func natsName(name string) string {
	p := []byte(name)
	for i, b := range p {
		if b <= ' ' || b >= 0x7f {
			p[i] = '-'
		}
	}
	return string(p)
}
