package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/peers"
	"udprelay/relay"
)

func TestTLSOfOldIsRefused(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, authority, "") })
	for version, good := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		config := authority.Client()
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
		err := tls.Client(r.dial(peers.TLS, ""), config).Handshake()
		if (err == nil) != good {
			t.Errorf("%s: want it accepted %v, got %v", tls.VersionName(version), good, err)
		}
	}
	r.awaitEnded(BadHandshake, 1)
}

func TestClientsMustShowACertificateIfAsked(t *testing.T) {
	known, stranger := certificatetest.New(t), certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) {
		o.TLS, o.Certificates = here, loadCertificate(t, known, known.File)
	})
	showing := func(a *certificatetest.Authority, change func(*x509.Certificate)) *tls.Config {
		config := known.Client()
		if a != nil {
			pair := a.Pair("client", change)
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		return config
	}
	a, b := r.tls(showing(known, nil)), r.tls(showing(known, nil))
	a.say("hello")
	wants(t, b, "hello")
	for name, config := range map[string]*tls.Config{
		"none":          showing(nil, nil),
		"of a stranger": showing(stranger, nil),
		"expired": showing(known, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
		}),
		"for servers only": showing(known, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
	} {
		conn := tls.Client(r.dial(peers.TLS, ""), config)
		conn.SetDeadline(time.Now().Add(patience))
		err := conn.Handshake() // with TLS 1.3 a client learns it only when it reads
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || !strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%s: want it refused by TLS; got %v", name, err)
		}
	}
	r.awaitEnded(BadHandshake, 4)
	r.awaitPeers(2)
	if got := r.log.Lines("reason=bad_handshake"); len(got) != 4 || !strings.Contains(got[0], "error=") {
		t.Errorf("want each told with its error; got %q", got)
	}
	r.balance()
}

// New certificates are for those that come.
func TestCertificatesAreReplaced(t *testing.T) {
	first, second := certificatetest.New(t), certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, first, "") })
	a := r.tls(first.Client())
	at := r.addr(peers.TLS)
	r.apply(func(o *Options) { o.Certificates = loadCertificate(t, second, "") })
	if r.addr(peers.TLS) != at {
		t.Errorf("want it to listen at %v as before; got %v", at, r.addr(peers.TLS))
	}
	if err := tls.Client(r.dial(peers.TLS, ""), first.Client()).Handshake(); err == nil {
		t.Error("want the new certificate shown; got the old one")
	}
	b := r.tls(second.Client())
	a.say("hello")
	wants(t, b, "hello")
}

// Who is kicked is told by TLS that this is the end.
func TestTLSIsEndedInForm(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, authority, "") })
	c := r.tls(authority.Client())
	r.relay.Peers().Kick(func(*peers.Peer) bool { return true })
	if _, err := c.hear(); err == nil || err.Error() != "EOF" {
		t.Errorf("want EOF; got %v", err)
	}
	r.awaitEnded(TakenOut, 1)
}

func TestHandshakesOfMany(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, authority, "") })
	const silent, good = 200, 60
	for range silent { // they take no turn from those who speak
		r.dial(peers.TLS, "")
	}
	done := make(chan error, good)
	for range good {
		conn := tls.Client(r.dial(peers.TLS, ""), authority.Client())
		go func() { done <- conn.Handshake() }()
	}
	for range good {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	r.awaitPeers(good)
	if free := cap(r.gateway.handshakes) - len(r.gateway.handshakes); free != cap(r.gateway.handshakes) {
		t.Errorf("want all places free again; got %d of %d", free, cap(r.gateway.handshakes))
	}
}
