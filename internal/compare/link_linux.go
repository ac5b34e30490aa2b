package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"udprelay/internal/bench"
	"udprelay/internal/cluster"
	"udprelay/relay"
)

const (
	linkSecret = "what the nodes of this measurement know"

	// linkBatch is as many datagrams as the relay makes a batch of.
	linkBatch = 64

	// linkWindow is how many datagrams are under way through the link alone.
	linkWindow = 16 << 10

	// lonePause is between two lone datagrams.
	lonePause = time.Millisecond
)

// measureLink measures two nodes beside one relay. With an error it returns what
// was measured until then, or nil.
func (s *session) measureLink(ctx context.Context, work string) (*link, error) {
	result := &link{Alone: []alone{{Sealed: false}, {Sealed: true}}}
	secret := filepath.Join(work, "secret")
	if err := os.WriteFile(secret, []byte(linkSecret), 0o600); err != nil {
		return nil, err
	}
	for round := range s.rounds {
		for i := range result.Alone {
			a := &result.Alone[i]
			rate, hop, err := s.linkAlone(ctx, a.Sealed)
			if err != nil {
				return result.measured(), fmt.Errorf("the link alone, round %d: %w", round+1, err)
			}
			a.PerSecond, a.Hop = append(a.PerSecond, rate), append(a.Hop, hop)
			fmt.Fprintf(s.say, "link     %d/%d sealed=%-5t %12s datagrams/s %8s ns\n", round+1, s.rounds, a.Sealed, number(rate), number(hop))
		}
	}
	for _, load := range linkLoads {
		for round := range s.rounds {
			first := round % len(linkWays)
			for _, way := range slices.Concat(linkWays[first:], linkWays[:first]) {
				r, err := s.overLink(ctx, load, way, secret)
				if err != nil {
					return result.measured(), fmt.Errorf("%s, %s, round %d: %w", load.Name, way, round+1, err)
				}
				result.Runs = append(result.Runs, benchRun{load.Name, way, round, r})
				fmt.Fprintf(s.say, "%-8s %d/%d %-16s %s\n", load.Name, round+1, s.rounds, way, summary(r))
			}
		}
	}
	return result, nil
}

// overLink starts a relay, or two nodes, and measures them.
func (s *session) overLink(ctx context.Context, load scenario, way, secret string) (result bench.Result, err error) {
	config, err := load.config()
	if err != nil {
		return result, err
	}
	config.Duration, config.Flood = s.each, load.Name == "flood"
	ports, err := freePorts(3)
	if err != nil {
		return result, err
	}
	serve := func(port uint16, variables ...string) (*child, error) {
		command := []string{s.programs.udprelay, "serve", "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--max-peers", "0", "--log-level", "error"}
		return startChild(ctx, anyProcessor, port, command, append(environ(), variables...))
	}
	route := fmt.Sprintf("127.0.0.1:%d", ports+2)
	node := func(key string) []string {
		list := []string{key + "=" + route}
		if way == sealedNodes {
			list = append(list, "UDPRELAY_CLUSTER_SECRET_FILE="+secret)
		}
		return list
	}
	var here []string
	if way != oneRelay {
		here = node("UDPRELAY_CLUSTER_LISTEN")
	}
	a, err := serve(ports, here...)
	if err != nil {
		return result, err
	}
	defer a.stop()
	config.Relay, config.PID = a.addr, a.pid
	relays := []*child{a}
	if way != oneRelay {
		b, err := serve(ports+1, node("UDPRELAY_CLUSTER_ROUTES")...)
		if err != nil {
			return result, err
		}
		defer b.stop()
		config.ReceiversAt = b.addr
		relays = append(relays, b)
	}
	return benchOf(ctx, config, relays...)
}

// A counting is a link that counts what is delivered.
type counting struct {
	count atomic.Int64
	came  chan struct{} // holds one, if something came
}

func (*counting) Name() string { return "counting" }

func (c *counting) Deliver(batch []relay.Datagram) {
	c.count.Add(int64(len(batch)))
	select {
	case c.came <- struct{}{}:
	default:
	}
}

// A linkNode is a node without UDP peers.
type linkNode struct {
	relay    *relay.Relay
	cluster  *cluster.Cluster
	counting *counting
	attached *relay.Attachment
	ended    chan error
}

// startLinkNode starts a node that connects to routes.
func startLinkNode(ctx context.Context, sealed bool, routes ...string) (*linkNode, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, err
	}
	n := &linkNode{counting: &counting{came: make(chan struct{}, 1)}, ended: make(chan error, 1)}
	if n.relay, err = relay.New(conn, relay.Options{}); err != nil {
		return nil, err
	}
	options := cluster.Options{Room: "measured", Listen: "127.0.0.1:0", Routes: routes}
	if sealed {
		options.Secret = []byte(linkSecret)
	}
	go func() { n.ended <- n.relay.Run(ctx) }()
	n.attached = n.relay.Attach(n.counting)
	if n.cluster, err = cluster.Start(ctx, n.relay, options); err != nil {
		n.cluster = nil
		n.stop()
		return nil, err
	}
	return n, nil
}

// stop ends the node. Its context has been cancelled, or is soon.
func (n *linkNode) stop() {
	if n.cluster != nil {
		n.cluster.Close()
	}
	n.attached.Detach()
}

// linkAlone returns how many datagrams a second the link takes, and how long one
// alone is under way.
func (s *session) linkAlone(ctx context.Context, sealed bool) (perSecond, hop float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var nodes []*linkNode
	defer func() {
		for _, n := range nodes {
			n.stop()
		}
		cancel()
		for _, n := range nodes {
			err = errors.Join(err, <-n.ended)
		}
	}()
	var routes []string
	for range 2 {
		n, err := startLinkNode(ctx, sealed, routes...)
		if err != nil {
			return 0, 0, err
		}
		nodes = append(nodes, n)
		routes = []string{n.cluster.Addr().String()}
	}
	from, to := nodes[0], nodes[1]
	batch := make([]relay.Datagram, linkBatch)
	for i := range batch {
		batch[i] = relay.Datagram{From: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i/16)}), 4000), Payload: bytes.Repeat([]byte("x"), 200)}
	}
	source := from.relay.Attach(&counting{came: make(chan struct{}, 1)})
	defer source.Detach()
	for deadline := time.Now().Add(startPatience); to.counting.count.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return 0, 0, errors.New("the nodes do not find each other")
		}
		if err := source.Bring(batch[:1]); err != nil {
			return 0, 0, err
		}
	}
	if hop, err = s.hop(ctx, source, to.counting, batch[:1]); err != nil {
		return 0, 0, err
	}
	before := to.counting.count.Load()
	began, brought := time.Now(), int64(0)
	// It goes on until there is a figure, however slow the machine is.
	for (time.Since(began) < s.each || to.counting.count.Load() == before) && ctx.Err() == nil {
		if time.Since(began) > startPatience+s.each {
			return 0, 0, errors.New("nothing has come through the link")
		}
		if brought-(to.counting.count.Load()-before) > linkWindow {
			runtime.Gosched()
			continue
		}
		if err := source.Bring(batch); err != nil {
			return 0, 0, err
		}
		brought += linkBatch
	}
	perSecond = float64(to.counting.count.Load()-before) / time.Since(began).Seconds()
	for deadline := time.Now().Add(startPatience); to.counting.count.Load()-before < brought; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return 0, 0, fmt.Errorf("%d of %d datagrams have not come", brought-(to.counting.count.Load()-before), brought)
		}
	}
	return perSecond, hop, ctx.Err()
}

// hop returns the median of how long lone datagrams are under way, in
// nanoseconds.
func (s *session) hop(ctx context.Context, source *relay.Attachment, to *counting, lone []relay.Datagram) (float64, error) {
	select {
	case <-to.came: // one that came before
	default:
	}
	var took []float64
	timeout := time.NewTimer(startPatience + s.each)
	defer timeout.Stop()
	for began := time.Now(); time.Since(began) < s.each || len(took) == 0; time.Sleep(lonePause) {
		left := time.Now()
		if err := source.Bring(lone); err != nil {
			return 0, err
		}
		select {
		case <-to.came:
			took = append(took, float64(time.Since(left)))
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-timeout.C:
			return 0, errors.New("a lone datagram has not come")
		}
	}
	return of(took).Median, nil
}
