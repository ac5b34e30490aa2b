package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"udprelay/peers"
)

// An authority signs the certificates of a test.
type authority struct {
	t           testing.TB
	dir         string
	key         crypto.Signer
	certificate *x509.Certificate

	file              string // its own certificate
	server, serverKey string // files, of a certificate for this host
}

// newAuthority returns an authority that has signed a certificate for this host.
func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := template("test authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.key = newKey(t)
	a.certificate = sign(t, template, template, a.key.Public(), a.key)
	a.file = a.write("ca.pem", "CERTIFICATE", a.certificate.Raw)
	a.server, a.serverKey = a.issue("server", nil)
	return a
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// template returns what a certificate for this host has.
func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue signs a certificate, and returns the files of it and of its key.
func (a *authority) issue(name string, change func(*x509.Certificate)) (certificate, key string) {
	a.t.Helper()
	template := template(name)
	if change != nil {
		change(template)
	}
	private := newKey(a.t)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	c := sign(a.t, template, a.certificate, private.Public(), a.key)
	return a.write(name+".pem", "CERTIFICATE", c.Raw), a.write(name+".key", "PRIVATE KEY", der)
}

// write writes a PEM file.
func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	return a.writeText(name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func (a *authority) writeText(name, text string) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// load loads the certificate for this host; clientCA may be "".
func (a *authority) load(t testing.TB, clientCA string) *tls.Config {
	t.Helper()
	config, warnings, err := LoadCertificates(a.server, a.serverKey, clientCA)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("want the certificate of the test loaded; got %v, %q", err, warnings)
	}
	return config
}

// client returns what a client needs to trust the authority.
func (a *authority) client() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
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
