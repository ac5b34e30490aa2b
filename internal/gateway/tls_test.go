package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
	"udprelay/relay"
)

func TestLoadCertificatesSaysWhatIsWrong(t *testing.T) {
	a := newAuthority(t)
	other, otherKey := a.issue("other", nil)
	leaf, _ := a.issue("leaf", func(c *x509.Certificate) { c.BasicConstraintsValid = true })
	text := a.writeText("text.pem", "this is no PEM\n")
	empty := a.writeText("empty.pem", "")
	damaged := a.write("damaged.pem", "CERTIFICATE", []byte("no certificate"))
	damagedKey := a.write("damaged.key", "PRIVATE KEY", []byte("no key"))
	encrypted := a.write("encrypted.key", "ENCRYPTED PRIVATE KEY", []byte("whatever"))
	missing := filepath.Join(a.dir, "missing.pem")
	serverText, _ := os.ReadFile(a.server)
	caText, _ := os.ReadFile(a.file)
	reversed := a.writeText("reversed.pem", string(caText)+string(serverText))
	for _, c := range []struct{ certificate, key, clientCA, file, want string }{
		{missing, a.serverKey, "", missing, "no such file"},
		{a.server, missing, "", missing, "no such file"},
		{a.server, a.serverKey, missing, missing, "no such file"},
		{text, a.serverKey, "", text, "there is no PEM in it: want a certificate as PEM, which begins with -----BEGIN CERTIFICATE-----"},
		{empty, a.serverKey, "", empty, "there is no PEM in it"},
		{a.server, text, "", text, "there is no PEM in it: want a private key as PEM"},
		{a.serverKey, a.server, "", a.serverKey, "there is a PRIVATE KEY and not a certificate"},
		{a.server, a.server, "", a.server, "there is a CERTIFICATE and not a private key"},
		{a.server, encrypted, "", encrypted, "the key is encrypted: want one without a passphrase"},
		{a.server, otherKey, "", a.server, "the key is not that of the certificate"},
		{other, a.serverKey, "", a.serverKey, "the key is not that of the certificate"},
		{reversed, a.serverKey, "", reversed, "the server's own certificate must come first"},
		{damaged, a.serverKey, "", damaged, "a certificate in it is damaged"},
		{a.server, damagedKey, "", damagedKey, "parse private key"},
		{a.server, a.serverKey, damaged, damaged, "a certificate in it is damaged"},
		{a.server, a.serverKey, a.serverKey, a.serverKey, "there is a PRIVATE KEY and not a certificate"},
		{a.server, a.serverKey, leaf, leaf, "is not the certificate of an authority"},
	} {
		_, _, err := LoadCertificates(c.certificate, c.key, c.clientCA)
		if err == nil || !strings.Contains(err.Error(), c.file) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("LoadCertificates(%s, %s, %s): want %s in the error, and %q; got %v",
				filepath.Base(c.certificate), filepath.Base(c.key), filepath.Base(c.clientCA), filepath.Base(c.file), c.want, err)
		}
	}
}

func TestLoadCertificatesWarns(t *testing.T) {
	a := newAuthority(t)
	old, oldKey := a.issue("old", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	early, earlyKey := a.issue("early", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
	})
	for _, c := range []struct{ certificate, key, want string }{
		{a.server, a.serverKey, ""},
		{old, oldKey, old + ": the certificate of localhost expired on " + time.Now().Add(-24*time.Hour).UTC().Format(time.DateOnly)},
		{early, earlyKey, early + ": the certificate of localhost is good only from "},
	} {
		config, warnings, err := LoadCertificates(c.certificate, c.key, a.file)
		if err != nil || config == nil {
			t.Fatalf("LoadCertificates(%s): want it loaded; got %v", filepath.Base(c.certificate), err)
		}
		if got := strings.Join(warnings, "\n"); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("LoadCertificates(%s): want the warning %q, got %q", filepath.Base(c.certificate), c.want, got)
		}
	}
}

// A file may have the key and the chain in it.
func TestLoadCertificatesFromOneFile(t *testing.T) {
	a := newAuthority(t)
	var all string
	for _, file := range []string{a.server, a.file, a.serverKey} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	one := a.writeText("one.pem", "some words first\n"+all)
	config, _, err := LoadCertificates(one, one, "")
	if err != nil {
		t.Fatal(err)
	}
	if chain := config.Certificates[0].Certificate; len(chain) != 2 {
		t.Errorf("want the certificate and its authority shown; got %d", len(chain))
	}
}

func TestTLSOfOldIsRefused(t *testing.T) {
	authority := newAuthority(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, authority.load(t, "") })
	for version, good := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		config := authority.client()
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
		err := tls.Client(r.dial(peers.TLS, ""), config).Handshake()
		if (err == nil) != good {
			t.Errorf("%s: want it accepted %v, got %v", tls.VersionName(version), good, err)
		}
	}
	r.awaitEnded(BadHandshake, 1)
}

func TestClientsMustShowACertificateIfAsked(t *testing.T) {
	known, stranger := newAuthority(t), newAuthority(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, known.load(t, known.file) })
	showing := func(a *authority, change func(*x509.Certificate)) *tls.Config {
		config := known.client()
		if a != nil {
			certificate, key := a.issue("client", change)
			pair, err := tls.LoadX509KeyPair(certificate, key)
			if err != nil {
				t.Fatal(err)
			}
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
	if got := r.log.lines("reason=bad_handshake"); len(got) != 4 || !strings.Contains(got[0], "error=") {
		t.Errorf("want each told with its error; got %q", got)
	}
	r.balance()
}

// New certificates are for those that come.
func TestCertificatesAreReplaced(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, first.load(t, "") })
	a := r.tls(first.client())
	at := r.addr(peers.TLS)
	r.apply(func(o *Options) { o.Certificates = second.load(t, "") })
	if r.addr(peers.TLS) != at {
		t.Errorf("want it to listen at %v as before; got %v", at, r.addr(peers.TLS))
	}
	if err := tls.Client(r.dial(peers.TLS, ""), first.client()).Handshake(); err == nil {
		t.Error("want the new certificate shown; got the old one")
	}
	b := r.tls(second.client())
	a.say("hello")
	wants(t, b, "hello")
}

// Who is kicked is told by TLS that this is the end.
func TestTLSIsEndedInForm(t *testing.T) {
	authority := newAuthority(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, authority.load(t, "") })
	c := r.tls(authority.client())
	r.relay.Peers().Kick(func(*peers.Peer) bool { return true })
	if _, err := c.hear(); err == nil || err.Error() != "EOF" {
		t.Errorf("want EOF; got %v", err)
	}
	r.awaitEnded(TakenOut, 1)
}

func TestHandshakesOfMany(t *testing.T) {
	authority := newAuthority(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, authority.load(t, "") })
	const silent, good = 200, 60
	for range silent { // they take no turn from those who speak
		r.dial(peers.TLS, "")
	}
	done := make(chan error, good)
	for range good {
		conn := tls.Client(r.dial(peers.TLS, ""), authority.client())
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

func TestKeyUnderAnotherName(t *testing.T) {
	a := newAuthority(t)
	text, err := os.ReadFile(a.serverKey)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	for _, kind := range []string{"EC PRIVATE KEY", "RSA PRIVATE KEY"} { // PKCS 8 under another name is understood
		path := a.write("named.key", kind, block.Bytes)
		if _, _, err := LoadCertificates(a.server, path, ""); err != nil {
			t.Errorf("%s: want it loaded; got %v", kind, err)
		}
	}
}
