//go:build !nocluster

package cluster

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"udprelay/internal/certificate/certificatetest"
)

// startTLS runs a NATS server that takes clients with a certificate of the
// authority, until the test ends or stop is called.
func startTLS(t testing.TB, a *certificatetest.Authority, port int) (url string, stop func()) {
	t.Helper()
	config := a.Serving()
	config.ClientCAs, config.ClientAuth = a.Pool, tls.RequireAndVerifyClientCert
	s := runNATS(t, &server.Options{Port: port, TLSConfig: config, TLSVerify: true, TLSTimeout: 5})
	return s.ClientURL(), func() { stopServer(s) }
}

func TestTLSOverAnExistingNATS(t *testing.T) {
	ours, theirs := certificatetest.New(t), certificatetest.New(t)
	url, stop := startTLS(t, ours, -1)
	list := startNodes(t, 2, Options{URL: url, TLS: ours.Serving()})
	talk(t, udpPeersOf(t, list, 1))

	strange := theirs.Serving()
	strange.RootCAs = ours.Pool // so that it is the server that refuses
	unsure := startNode(t, Options{Name: "unsure", URL: url, TLS: theirs.Serving()})
	for n, want := range map[*testNode]string{
		unsure: "certificate signed by unknown authority",
		startNode(t, Options{Name: "refused", URL: url, TLS: strange}): "that its ca has signed",

		startNode(t, Options{Name: "none", URL: url, TLS: &tls.Config{RootCAs: ours.Pool}}): "that its ca has signed",
	} {
		await(t, "it is logged that "+want, func() bool { return n.log.Has(want) })
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
	startTLS(t, theirs, port)
	await(t, "the node is connected", func() bool { return unsure.Stats().Connected })
}

func TestRoutesWithTLS(t *testing.T) {
	a, other := certificatetest.New(t), certificatetest.New(t)
	first := startNode(t, Options{Name: "first", TLS: a.Serving()})
	routes := []string{first.Addr().String()}
	second := startNode(t, Options{Name: "second", TLS: a.Serving(), Routes: routes})
	awaitNodes(t, first, second)
	total := talk(t, udpPeersOf(t, []*testNode{first, second}, 1))
	await(t, "all that was said is handed to the tap", func() bool { return second.tap.counted() == total })

	strange := other.Serving()
	strange.RootCAs = a.Pool // so that it is the other side that refuses
	for name, config := range map[string]*tls.Config{"certificate of another": strange, "no TLS": nil} {
		stranger := startNode(t, Options{Name: name, TLS: config, Routes: routes})
		await(t, "the stranger is refused", func() bool { return first.log.Has("TLS") && stranger.log.Has("127.0.0.1") })
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
