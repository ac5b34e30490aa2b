//go:build !nocluster

package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// An authority signs certificates for the loopback address.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.sign(template, template, nil)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// config returns what a node with a certificate of the authority works with.
func (a *authority) config() *tls.Config {
	cert, key := a.sign(&x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, a.key)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		RootCAs:      a.pool,
	}
}

// startTLS runs a NATS server that takes clients with a certificate of the
// authority, until the test ends or stop is called.
func (a *authority) startTLS(port int) (url string, stop func()) {
	a.t.Helper()
	config := a.config()
	config.ClientCAs, config.ClientAuth = a.pool, tls.RequireAndVerifyClientCert
	s := runNATS(a.t, &server.Options{Port: port, TLSConfig: config, TLSVerify: true, TLSTimeout: 5})
	return s.ClientURL(), func() { stopServer(s) }
}

func TestTLSOverAnExistingNATS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	url, stop := ours.startTLS(-1)
	list := startNodes(t, 2, Options{URL: url, TLS: ours.config()})
	talk(t, udpPeersOf(t, list, 1))

	strange := theirs.config()
	strange.RootCAs = ours.pool // so that it is the server that refuses
	unsure := startNode(t, Options{Name: "unsure", URL: url, TLS: theirs.config()})
	for n, want := range map[*testNode]string{
		unsure: "certificate signed by unknown authority",
		startNode(t, Options{Name: "refused", URL: url, TLS: strange}): "tls", // the alert, or that the connection was closed, whichever comes first

		startNode(t, Options{Name: "none", URL: url, TLS: &tls.Config{RootCAs: ours.pool}}): "tls",
	} {
		await(t, "it is logged that "+want, func() bool { return n.log.has(want) })
		if s := n.Stats(); s.Connected || len(s.Nodes) != 0 || s.ReceivedMessages != 0 {
			t.Errorf("%s: want nothing heard; got %+v", n.options.Name, s)
		}
	}
	awaitNodes(t, list...)

	// It is tried again, until there is a server with a certificate that fits.
	stop()
	_, port, err := splitHostPort(strings.TrimPrefix(url, "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	theirs.startTLS(port)
	await(t, "the node is connected", func() bool { return unsure.Stats().Connected })
}

func TestRoutesWithTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	first := startNode(t, Options{Name: "first", TLS: a.config()})
	routes := []string{first.Addr().String()}
	second := startNode(t, Options{Name: "second", TLS: a.config(), Routes: routes})
	awaitNodes(t, first, second)
	talk(t, udpPeersOf(t, []*testNode{first, second}, 1))

	strange := other.config()
	strange.RootCAs = a.pool // so that it is the other side that refuses
	for name, config := range map[string]*tls.Config{"certificate of another": strange, "no TLS": nil} {
		stranger := startNode(t, Options{Name: name, TLS: config, Routes: routes})
		await(t, "the stranger is refused", func() bool { return first.log.has("TLS") && stranger.log.has("127.0.0.1") })
		heard := second.tap.counted()
		stranger.tap.bring(t, said("of the stranger"))
		first.tap.bring(t, said(name))
		await(t, "what a node says is heard", func() bool { return second.tap.counted() == heard+1 })
		if s := stranger.Stats(); stranger.routed() != 0 || len(s.Nodes) != 0 || stranger.tap.counted() != 0 {
			t.Errorf("%s: want the stranger to hear of nobody; got %+v", name, s)
		}
		stranger.Close()
	}
	awaitNodes(t, first, second)
}
