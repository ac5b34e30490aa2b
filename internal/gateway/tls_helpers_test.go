package gateway

import (
	"crypto/tls"
	"testing"

	"udprelay/internal/certificate"
	"udprelay/internal/certificate/certificatetest"
	"udprelay/peers"
)

// loadCertificate loads the certificate for this host; clientCA may be "".
func loadCertificate(t testing.TB, a *certificatetest.Authority, clientCA string) *tls.Config {
	t.Helper()
	config, warnings, err := certificate.Load(a.Server, a.ServerKey, clientCA)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("want the certificate of the test loaded; got %v, %q", err, warnings)
	}
	return config
}

// tls returns a TLS client that is a peer.
func (r *room) tls(config *tls.Config) *streamTalker {
	r.t.Helper()
	c := r.tlsStranger(config)
	r.awaitIn(c.address())
	return c
}

// tlsStranger returns a TLS client whose handshake is done.
func (r *room) tlsStranger(config *tls.Config) *streamTalker {
	r.t.Helper()
	conn := tls.Client(r.dial(peers.TLS, ""), config)
	if err := conn.Handshake(); err != nil {
		r.t.Fatalf("want the handshake of TLS done; got %v", err)
	}
	return newStreamTalker(r.t, conn)
}
