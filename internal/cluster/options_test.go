//go:build !nocluster

package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
)

func TestOptionsThatAreRefused(t *testing.T) {
	secret := []byte("secret")
	pool := x509.NewCertPool()
	certified := []tls.Certificate{{}}
	for _, test := range []struct {
		name    string
		options Options
		want    string // "": nothing is wrong
	}{
		{"nothing but a room", Options{}, ""},
		{"loopback", Options{Listen: "127.0.0.1:0"}, ""},
		{"loopback by name", Options{Listen: "localhost:0"}, ""},
		{"loopback of IPv6", Options{Listen: "[::1]:0"}, ""},
		{"everywhere", Options{Listen: ":7422"}, "want a secret, TLS"},
		{"everywhere of IPv4", Options{Listen: "0.0.0.0:7422"}, "want a secret, TLS"},
		{"everywhere of IPv6", Options{Listen: "[::]:7422"}, "want a secret, TLS"},
		{"a name", Options{Listen: "example.org:7422"}, "want a secret, TLS"},
		{"everywhere with a secret", Options{Listen: ":7422", Secret: secret}, ""},
		{"everywhere with TLS", Options{Listen: ":7422", TLS: &tls.Config{Certificates: certified, RootCAs: pool}}, ""},
		{"everywhere, said aloud", Options{Listen: ":7422", InsecureListen: true}, ""},
		{"TLS without a certificate", Options{TLS: &tls.Config{RootCAs: pool}}, "want a certificate"},
		{"TLS without authorities", Options{TLS: &tls.Config{Certificates: certified}}, "RootCAs"},
		{"TLS that verifies nothing", Options{TLS: &tls.Config{Certificates: certified, RootCAs: pool, InsecureSkipVerify: true}}, "InsecureSkipVerify"},
		{"no port", Options{Listen: "127.0.0.1"}, "want host:port"},
		{"bad port", Options{Listen: "127.0.0.1:99999"}, "want 0 to 65535"},
		{"a route of no port", Options{Routes: []string{"192.0.2.1"}}, "want host:port"},
		{"a route of port 0", Options{Routes: []string{"192.0.2.1:0"}}, "want host:port"},
		{"a route of no host", Options{Routes: []string{":7422"}}, "want host:port"},
		{"too many routes", Options{Routes: make([]string, maxRoutes+1)}, "at most 256"},
		{"url", Options{URL: "nats://192.0.2.1"}, ""},
		{"url and routes", Options{URL: "nats://192.0.2.1", Routes: []string{"192.0.2.1:1"}}, "want none with a url"},
		{"url and listen", Options{URL: "nats://192.0.2.1", Listen: "127.0.0.1:0"}, "want none with a url"},
		{"credentials without url", Options{Credentials: "file"}, "want a url"},
		{"advertised", Options{Listen: ":7422", Secret: secret, Advertise: "relay.example:7422"}, ""},
		{"advertised by address", Options{Listen: "[::1]:0", Advertise: "[2001:db8::1]:7422"}, ""},
		{"advertised without a port", Options{Listen: "[::1]:0", Advertise: "relay.example"}, "want host:port"},
		{"advertised port 0", Options{Listen: "[::1]:0", Advertise: "relay.example:0"}, "the port not 0"},
		{"advertised without a host", Options{Listen: "[::1]:0", Advertise: ":7422"}, "want host:port"},
		{"advertised everywhere", Options{Listen: "[::1]:0", Advertise: "0.0.0.0:7422"}, "want an address of this node"},
		{"advertised, but not listened", Options{Advertise: "relay.example:7422"}, "want listen too"},
		{"url and advertise", Options{URL: "nats://192.0.2.1", Advertise: "relay.example:7422"}, "want none with a url"},
		{"room of two words", Options{Room: "a.b"}, "letters, digits"},
		{"room of all", Options{Room: ">"}, "letters, digits"},
		{"long room", Options{Room: strings.Repeat("x", 65)}, "letters, digits"},
		{"small queue", Options{Queue: 1000}, "want 262144"},
	} {
		if test.options.Room == "" {
			test.options.Room = "test"
		}
		err := test.options.check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: want %q; got %v", test.name, test.want, err)
		}
	}
}

func TestRoomIsRequired(t *testing.T) {
	if err := new(Options).check(); err == nil {
		t.Error("want options without a room refused")
	}
}

// Both sides of a route show a certificate.
func TestTLSBetweenNodesVerifiesBothSides(t *testing.T) {
	given := &tls.Config{Certificates: []tls.Certificate{{}}, RootCAs: x509.NewCertPool()}
	o := Options{Room: "test", TLS: given}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	if o.TLS.ClientAuth != tls.RequireAndVerifyClientCert || o.TLS.ClientCAs != given.RootCAs {
		t.Errorf("want certificates of clients required and verified; got %v", o.TLS.ClientAuth)
	}
	if given.ClientAuth != tls.NoClientCert {
		t.Error("want the caller's configuration as it was")
	}
}

func TestNamesFromElsewhereArePrintable(t *testing.T) {
	for given, want := range map[string]string{
		"node 1": "node 1", "a\x1b[31mb\n": "a[31mb", "\xff": "", strings.Repeat("é", 40): strings.Repeat("é", 32), "a\u202eb": "ab",
	} {
		if got := printable(given); got != want {
			t.Errorf("%q: want %q; got %q", given, want, got)
		}
	}
}
