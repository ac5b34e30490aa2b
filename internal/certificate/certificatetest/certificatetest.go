package certificatetest

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
)

// An Authority signs the certificates of a test.
type Authority struct {
	t           testing.TB
	key         crypto.Signer
	certificate *x509.Certificate

	Dir               string         // where its files are
	File              string         // its own certificate
	Pool              *x509.CertPool // of its own certificate
	Server, ServerKey string         // files, of a certificate for this host
}

// New returns an authority that has signed a certificate for this host.
func New(t testing.TB) *Authority {
	t.Helper()
	return Named(t, "test authority")
}

// Named is New with the name of the authority.
func Named(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, Dir: t.TempDir(), Pool: x509.NewCertPool()}
	template := template(name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.key = newKey(t)
	a.certificate = sign(t, template, template, a.key.Public(), a.key)
	a.Pool.AddCert(a.certificate)
	a.File = a.Write("ca.pem", "CERTIFICATE", a.certificate.Raw)
	a.Server, a.ServerKey = a.Issue("server", nil)
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

// For makes a certificate one for hosts, names or addresses, that is valid for a
// time from an hour ago on.
func For(valid time.Duration, hosts ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.NotAfter = c.NotBefore.Add(valid)
		c.DNSNames, c.IPAddresses = nil, nil
		for _, host := range hosts {
			if ip := net.ParseIP(host); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, host)
			}
		}
	}
}

// Issue signs a certificate for this host, which change, if it is not nil, makes
// another one, and returns the files of it and of its key.
func (a *Authority) Issue(name string, change func(*x509.Certificate)) (certificate, key string) {
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
	return a.Write(name+".pem", "CERTIFICATE", c.Raw), a.Write(name+".key", "PRIVATE KEY", der)
}

// Pair signs a certificate as Issue does.
func (a *Authority) Pair(name string, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	return a.load(a.Issue(name, change))
}

func (a *Authority) load(certificate, key string) tls.Certificate {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// Write writes a PEM file, and returns its path.
func (a *Authority) Write(name, kind string, der []byte) string {
	a.t.Helper()
	return a.WriteText(name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// WriteText writes a file, and returns its path.
func (a *Authority) WriteText(name, text string) string {
	a.t.Helper()
	path := filepath.Join(a.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// Client returns what a client needs to trust the authority.
func (a *Authority) Client() *tls.Config {
	return &tls.Config{RootCAs: a.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

// Serving returns what a server at this host needs, and what it needs to be a
// client of others.
func (a *Authority) Serving() *tls.Config {
	a.t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{a.load(a.Server, a.ServerKey)}, RootCAs: a.Pool, MinVersion: tls.VersionTLS12}
}
