//go:build !nocluster

package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

const (
	// probePatience is how long a server may take to say who it is.
	probePatience = 3 * time.Second

	// maxInfo is the length of the longest line with which a server says who it
	// is.
	maxInfo = 64 << 10
)

// An answer is what is found where a route leads.
type answer struct {
	id     string // of the NATS server, new at each start; "": there is none
	server string // its name
	err    string // why it can not be a route; "": nothing is known against it
}

// A prober finds out where routes lead. It calls, hears who is there and hangs
// up. It says nothing itself, but for the handshake of TLS.
type prober struct {
	options *Options
	host    string // the first name among the routes, which NATS takes certificates of addresses to be for; "": none
}

func newProber(o *Options) *prober {
	p := &prober{options: o}
	for _, route := range o.Routes {
		if host, _, err := splitHostPort(route); err == nil && !isAddress(host) {
			p.host = host
			break
		}
	}
	return p
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// probe calls an address.
func (p *prober) probe(ctx context.Context, address string) answer {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	if p.options.TLS == nil {
		return p.call(ctx, address, "")
	}
	host, _, _ := splitHostPort(address)
	if p.host == "" || !isAddress(host) {
		return p.call(ctx, address, host)
	}
	a := p.call(ctx, address, p.host)
	if a.id == "" {
		a = p.call(ctx, address, host)
	}
	return a
}

// call connects and hears who is there. The name is that which its certificate
// must be for.
func (p *prober) call(ctx context.Context, address, name string) answer {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return answer{err: plainly(err)}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if p.options.TLS != nil {
		config := p.options.TLS.Clone()
		if config.ServerName == "" {
			config.ServerName = name
		}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return answer{err: refusal(err)}
		}
		defer secured.Close() // says goodbye
		conn = secured
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxInfo)).ReadBytes('\n')
	switch {
	case err == nil:
		return p.judge(line)
	case p.options.TLS != nil:
		return answer{err: refusal(err)}
	default:
		return answer{err: "it does not say who it is: want TLS here too, if it is a node that has it"}
	}
}

// refusal says why there is no connection with TLS.
func refusal(err error) string {
	var (
		remote   *net.OpError
		plain    tls.RecordHeaderError
		verified *tls.CertificateVerificationError
		host     x509.HostnameError
	)
	switch {
	case errors.As(err, &plain):
		return "TLS: it has none: want it on all nodes or on none"
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert, as crypto/tls returns it
		return fmt.Sprintf("TLS: it refuses the certificate of this node: %v", remote.Err)
	case errors.As(err, &host), errors.As(err, &verified):
		return fmt.Sprintf("TLS: its certificate is refused: %v", errors.Unwrap(err))
	default:
		return "TLS: " + plainly(err)
	}
}

// plainly returns an error without what is known already.
func plainly(err error) string {
	var (
		lookup *net.DNSError
		system *os.SyscallError
		dialed *net.OpError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return fmt.Sprintf("no answer in %v", probePatience)
	case errors.As(err, &lookup):
		return fmt.Sprintf("lookup of %s: %s", lookup.Name, lookup.Err)
	case errors.As(err, &system):
		return system.Err.Error()
	case errors.As(err, &dialed):
		return dialed.Err.Error()
	default:
		return err.Error()
	}
}

// A serverInfo is what a NATS server says of itself, as far as it matters.
type serverInfo struct {
	ID           string `json:"server_id"`
	Name         string `json:"server_name"`
	Cluster      string `json:"cluster"`
	AuthRequired bool   `json:"auth_required"`
}

// parseInfo returns what the first line of a server says.
func parseInfo(line []byte) (info serverInfo, ok bool) {
	body, ok := bytes.CutPrefix(line, []byte("INFO "))
	return info, ok && json.Unmarshal(body, &info) == nil && info.ID != ""
}

// judge says what the first line of a server means.
func (p *prober) judge(line []byte) answer {
	info, ok := parseInfo(line)
	switch {
	case !ok:
		return answer{err: fmt.Sprintf("it is no node, it says %q", printable(string(line)))}
	case info.Cluster != clusterName:
		return answer{err: fmt.Sprintf("it is no node, but a NATS server of the cluster %q: want url for that", printable(info.Cluster))}
	}
	a := answer{id: info.ID, server: info.Name}
	if info.AuthRequired && len(p.options.Secret) == 0 {
		a.err = "it wants a secret, and this node has none"
	}
	return a
}
