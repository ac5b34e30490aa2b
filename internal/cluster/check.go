//go:build !nocluster

package cluster

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	leastQueue = 256 << 10
	mostQueue  = 1 << 30

	maxRoom   = 64
	maxRoutes = 256
)

// check completes the options. The error says what is wrong and what would be
// right.
func (o *Options) check() error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Queue == 0 {
		o.Queue = DefaultQueue
	}
	if o.Queue < leastQueue || o.Queue > mostQueue {
		return fmt.Errorf("a queue of %d bytes: want %d to %d", o.Queue, leastQueue, mostQueue)
	}
	if !isRoom(o.Room) {
		return fmt.Errorf("room %q: want 1 to %d letters, digits, - and _", o.Room, maxRoom)
	}
	o.Name, o.Version = printable(o.Name), printable(o.Version)
	if o.URL != "" {
		return o.checkURL()
	}
	return o.checkServer()
}

func (o *Options) checkURL() error {
	if o.Listen != "" || o.Advertise != "" || len(o.Routes) > 0 || o.InsecureListen {
		return errors.New("listen, advertise and routes are for nodes that connect to each other: want none with a url")
	}
	return nil
}

func (o *Options) checkServer() error {
	if o.Credentials != "" {
		return errors.New("credentials are for an existing NATS deployment: want a url with them, or a secret instead")
	}
	if err := o.checkAdvertise(); err != nil {
		return err
	}
	host, _, err := splitHostPort(o.listen())
	if err != nil {
		return fmt.Errorf("listen on %q: %w", o.Listen, err)
	}
	if len(o.Routes) > maxRoutes {
		return fmt.Errorf("%d routes: want at most %d; nodes tell each other of the rest", len(o.Routes), maxRoutes)
	}
	for _, route := range o.Routes {
		if host, port, err := splitHostPort(route); err != nil || host == "" || port == 0 {
			return fmt.Errorf("route %q: want host:port", route)
		}
	}
	if o.TLS != nil {
		if err := o.checkTLS(); err != nil {
			return err
		}
	}
	if !isLoopback(host) && len(o.Secret) == 0 && o.TLS == nil && !o.InsecureListen {
		return fmt.Errorf("listen on %q lets everyone take part: want a secret, TLS, or an address of the loopback interface", o.Listen)
	}
	return nil
}

// listen returns where the server of the node listens, which it always does.
func (o *Options) listen() string { return cmp.Or(o.Listen, "127.0.0.1:0") }

func (o *Options) checkAdvertise() error {
	if o.Advertise == "" {
		return nil
	}
	if o.Listen == "" {
		return fmt.Errorf("advertise %q: want listen too, for nobody is listened for", o.Advertise)
	}
	host, port, err := splitHostPort(o.Advertise)
	if err == nil && (host == "" || port == 0) {
		err = errors.New("want host:port where other nodes reach this one, the port not 0")
	}
	if err != nil {
		return fmt.Errorf("advertise %q: %w", o.Advertise, err)
	}
	if ip, err := netip.ParseAddr(host); err == nil && (ip.IsUnspecified() || ip.IsMulticast()) {
		return fmt.Errorf("advertise %q: want an address of this node, as others reach it", o.Advertise)
	}
	return nil
}

func (o *Options) checkTLS() error {
	c := o.TLS.Clone()
	if len(c.Certificates) == 0 && c.GetCertificate == nil {
		return errors.New("TLS between nodes: want a certificate, for each node shows one")
	}
	if c.ClientCAs == nil {
		c.ClientCAs = c.RootCAs
	}
	if c.RootCAs == nil {
		c.RootCAs = c.ClientCAs
	}
	if c.RootCAs == nil {
		return errors.New("TLS between nodes: want the certificates of the authorities (RootCAs or ClientCAs) that those of the nodes are verified with")
	}
	if c.InsecureSkipVerify {
		return errors.New("TLS between nodes: want certificates verified, but InsecureSkipVerify is set")
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	o.TLS = c
	return nil
}

func splitHostPort(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, errors.New("want host:port")
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: want 0 to 65535", text)
	}
	return host, int(n), nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func isRoom(room string) bool {
	for _, r := range []byte(room) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		default:
			return false
		}
	}
	return room != "" && len(room) <= maxRoom
}

// printable returns at most 64 bytes of a text that may come from elsewhere,
// without what could change a terminal.
func printable(text string) string { return printableUpTo(text, 64) }

func printableUpTo(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// random returns n random bytes.
func random(n int) []byte {
	p := make([]byte, n)
	rand.Read(p) // never fails
	return p
}
