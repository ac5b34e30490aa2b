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
	"slices"
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
		return answer{err: plainly(err, probePatience)}
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
			return answer{err: refusal(err, probePatience)}
		}
		defer secured.Close() // says goodbye
		conn = secured
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxInfo)).ReadBytes('\n')
	switch {
	case err == nil:
		return p.judge(line)
	case p.options.TLS != nil:
		return answer{err: refusal(err, probePatience)}
	case isSilence(err):
		return answer{err: "it " + saysNothing}
	default:
		return answer{err: "it hangs up: want TLS here too, if it is a node that has it"}
	}
}

// isSilence reports whether it was waited in vain.
func isSilence(err error) bool {
	var waited net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) || errors.As(err, &waited) && waited.Timeout()
}

// The alerts with which a server asks for another certificate. crypto/tls has
// them as numbers only.
var wantsAnother = []tls.AlertError{42, 46, 48, 116} // bad, unknown, of an unknown ca, required

// refusal says why there is no connection with TLS; a server may take so long to
// answer.
func refusal(err error, patience time.Duration) string {
	var (
		remote   *net.OpError
		plain    tls.RecordHeaderError
		verified *tls.CertificateVerificationError
		system   *os.SyscallError
	)
	switch {
	case errors.As(err, &plain):
		return "TLS: it has none: want it on all nodes or on none"
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert, as crypto/tls returns it
		if slices.ContainsFunc(wantsAnother, func(alert tls.AlertError) bool { return remote.Err.Error() == alert.Error() }) {
			return "TLS: it wants a certificate that its ca has signed"
		}
		return fmt.Sprintf("TLS: it refuses the certificate of this node: %v", remote.Err)
	case errors.As(err, &verified):
		return "TLS: its certificate is refused: " + plainly(verified.Err, patience)
	case isSilence(err):
		return "TLS: it takes the connection and says nothing: it hangs"
	case errors.Is(err, io.EOF), errors.As(err, &system):
		return "TLS: it hangs up: it may want a certificate that its ca has signed"
	default:
		return "TLS: " + plainly(err, patience)
	}
}

// plainly returns an error without what is known already, and without what is
// another at each time; it was waited for so long.
func plainly(err error, patience time.Duration) string {
	var (
		lookup  *net.DNSError
		system  *os.SyscallError
		dialed  *net.OpError
		invalid x509.CertificateInvalidError
	)
	switch {
	case err == nil:
		return "nothing is said why"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if from := invalid.Cert.NotBefore; time.Now().Before(from) {
			return "it is valid only from " + from.UTC().String()
		}
		return fmt.Sprintf("it has expired at %v: want a new one", invalid.Cert.NotAfter.UTC())
	case errors.As(err, &lookup):
		return fmt.Sprintf("lookup of %s: %s", lookup.Name, lookup.Err)
	case isSilence(err):
		return fmt.Sprintf("no answer in %v", patience)
	case errors.As(err, &system):
		return system.Err.Error()
	case errors.As(err, &dialed):
		return cut(dialed.Err.Error())
	default:
		return cut(err.Error())
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
