package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// A ConnectError is a relay that the client cannot connect to.
type ConnectError struct {
	Relay   string // as Client.Relay
	Problem string
	Hint    string // what may be done about it; may be empty
	Err     error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("cannot connect to %s: %s", e.Relay, e.Problem)
}
func (e *ConnectError) Unwrap() error { return e.Err }

// A LostError is a connection that has ended, and that no other one has made
// good.
type LostError struct {
	Relay      string // as Client.Relay
	Problem    string // the last one
	Hint       string // what may be done about it; may be empty
	TurnedAway bool   // it had only just begun: the relay does not let the client in
}

func (e *LostError) Error() string {
	if e.TurnedAway {
		return fmt.Sprintf("%s ended the connection as soon as it had begun (%s)", e.Relay, e.Problem)
	}
	return fmt.Sprintf("the connection to %s is lost (%s)", e.Relay, e.Problem)
}

const (
	turnedAwayHint = "does it let this client in? see access, gateway.connections and the bans of the relay"
	certificate    = "give one that the relay's gateway.tls.client_ca has signed with --certificate FILE --key FILE"
	day            = "2006-01-02 15:04 MST"
)

// explain puts what went wrong with a connection into words, and what may be
// done about it.
func explain(err error) (problem, hint string) {
	problem, hint, ok := explainCertificate(err)
	if ok {
		return problem, hint
	}
	closed := websocket.CloseError{}
	status := (*statusError)(nil)
	dns := (*net.DNSError)(nil)
	switch timeout := net.Error(nil); {
	case errors.As(err, &dns):
		return dns.Error(), ""
	case errors.As(err, &status):
		return status.explain()
	case errors.As(err, &closed):
		return explainClosed(closed), ""
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return "it does not speak TLS", "is it reached by tcp:// or ws:// in place of tls:// or wss://?"
	case isOneOf(err, syscall.ECONNREFUSED), isRefused(err) && !isOneOf(err, syscall.ECONNRESET):
		return "connection refused", "is the relay running there, and does its gateway listen there? see gateway in its configuration"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer in time", "is the address right, and does no firewall stand between?"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "ended within a datagram", "is it a port for this protocol? tcp:// has frames of RFC 4571, without TLS"
	case errors.Is(err, io.EOF), isOneOf(err, syscall.EPIPE):
		return "closed by the relay", turnedAwayHint
	case isOneOf(err, syscall.ECONNRESET):
		return bare(err).Error(), turnedAwayHint
	}
	return bare(err).Error(), ""
}

// explainCertificate does that for certificates, the relay's and the client's.
func explainCertificate(err error) (problem, hint string, ok bool) {
	unknown := x509.UnknownAuthorityError{}
	host := x509.HostnameError{}
	invalid := x509.CertificateInvalidError{}
	switch {
	case errors.As(err, &unknown):
		problem = "nobody this machine trusts has signed its certificate"
		if unknown.Cert != nil && unknown.Cert.Issuer.CommonName != "" {
			problem += fmt.Sprintf(", but %q has", unknown.Cert.Issuer.CommonName)
		}
		return problem, "give the certificate of who has signed it with --ca FILE", true
	case errors.As(err, &host):
		names := slices.Clone(host.Certificate.DNSNames)
		for _, ip := range host.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			return "its certificate names no host, so not " + host.Host + " either", "it needs a certificate with a subjectAltName", true
		}
		return fmt.Sprintf("its certificate is for %s, not for %s", strings.Join(names, ", "), host.Host),
			"use a name of the certificate, or say which with --server-name " + names[0], true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		return "its certificate is not valid before " + invalid.Cert.NotBefore.UTC().Format(day), "is the clock of this machine right?", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired at " + invalid.Cert.NotAfter.UTC().Format(day), "the relay needs a new one; is the clock of this machine right?", true
	case errors.As(err, &invalid):
		return "its certificate is no good: " + strings.TrimPrefix(invalid.Error(), "x509: "), "", true
	}
	// What the relay says of the client's certificate is known by its text only.
	remote := (*net.OpError)(nil)
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		return "", "", false
	}
	switch alert := strings.TrimPrefix(remote.Err.Error(), "tls: "); alert {
	case "certificate required":
		return "it wants a certificate of this client", certificate, true
	case "bad certificate", "unknown certificate authority", "unknown certificate", "unsupported certificate", "revoked certificate":
		return "it does not accept the certificate of this client", certificate, true
	case "expired certificate":
		return "the certificate of this client has expired", certificate, true
	default:
		return "it says: " + alert, "", true
	}
}

// explainClosed says why a WebSocket was closed.
func explainClosed(closed websocket.CloseError) string {
	switch {
	case closed.Reason != "":
		return fmt.Sprintf("closed by the relay: %q", closed.Reason)
	case closed.Code == websocket.StatusNormalClosure, closed.Code == websocket.StatusNoStatusRcvd, closed.Code == websocket.StatusGoingAway:
		return "closed by the relay"
	}
	return fmt.Sprintf("closed by the relay with status %d", int(closed.Code))
}

func (e *statusError) explain() (problem, hint string) {
	problem = "it answers " + e.status + ", not with a WebSocket"
	switch {
	case e.location != "":
		return fmt.Sprintf("%s, but names %q", problem, e.location), "use the address that it names"
	case e.code == http.StatusNotFound:
		hint = "is the path right? see gateway.websocket.path of the relay"
	case e.code == http.StatusBadRequest:
		hint = "is it reached by wss:// in place of ws://?"
	case e.code == http.StatusForbidden, e.code == http.StatusServiceUnavailable:
		hint = turnedAwayHint
	case e.code == http.StatusOK, e.code == http.StatusUpgradeRequired:
		hint = "is it the port of gateway.websocket?"
	}
	return problem, hint
}
