package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/client/relaytest"
)

func TestAConnectionThatCannotBeMadeSaysWhatWouldBeRight(t *testing.T) {
	authority, other := certificatetest.Named(t, "the right one"), certificatetest.Named(t, "another")
	start := func(scheme string, valid time.Duration, hosts ...string) *relaytest.Connected {
		pair := authority.Pair("of the relay", certificatetest.For(valid, hosts...))
		return relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: scheme, TLS: &tls.Config{Certificates: []tls.Certificate{pair}}})
	}
	const day = 24 * time.Hour
	trusted := func(c *tls.Config) { c.RootCAs = authority.Pool }
	for name, test := range map[string]struct {
		scheme, as, path string
		valid            time.Duration
		hosts            []string
		config           func(*tls.Config)
		problem, hint    string
	}{
		"an unknown authority": {TLS, TLS, "", day, []string{"127.0.0.1"}, func(c *tls.Config) { c.RootCAs = other.Pool },
			`nobody this machine trusts has signed its certificate, but "the right one" has`, "--ca FILE"},
		"another host": {SecureWebSocket, SecureWebSocket, "/room", day, []string{"relay.example"}, trusted,
			"its certificate is for relay.example, not for 127.0.0.1", "--server-name relay.example"},
		"no host": {TLS, TLS, "", day, nil, trusted,
			"its certificate names no host, so not 127.0.0.1 either", "subjectAltName"},
		"expired": {TLS, TLS, "", time.Minute, []string{"127.0.0.1"}, trusted, "its certificate has expired at 20.* UTC", "needs a new one"},
		"not TLS": {WebSocket, TLS, "", day, nil, trusted, "it does not speak TLS", "by tcp:// or ws://"},
		"wss to ws": {WebSocket, SecureWebSocket, "/room", day, nil, trusted,
			"it does not speak TLS", "by tcp:// or ws://"},
		"ws to wss": {SecureWebSocket, WebSocket, "/room", day, []string{"127.0.0.1"}, trusted,
			"it answers 400 Bad Request, not with a WebSocket", "by wss:// in place of ws://"},
		"another path": {WebSocket, WebSocket, "/other", day, nil, trusted,
			"it answers 404 Not Found, not with a WebSocket", "gateway.websocket.path"},
	} {
		t.Run(name, func(t *testing.T) {
			relay := start(test.scheme, test.valid, test.hosts...)
			config := &tls.Config{}
			test.config(config)
			c, err := Dial(t.Context(), test.as+"://"+relay.Addr+test.path, Options{TLS: config})
			if err == nil {
				c.Close()
			}
			got := (*ConnectError)(nil)
			if !errors.As(err, &got) || !regexp.MustCompile("^"+test.problem+"$").MatchString(got.Problem) || !regexp.MustCompile(test.hint).MatchString(got.Hint) {
				t.Errorf("\nwant %s, hint %s\ngot  %v, %+v", test.problem, test.hint, err, got)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		address := "tcp://" + relaytest.FreeAddr(t)
		_, err := Dial(t.Context(), address, Options{})
		if want := "cannot connect to " + address + ": connection refused"; err == nil || err.Error() != want {
			t.Errorf("want %q, got %v", want, err)
		}
	})
	t.Run("no answer", func(t *testing.T) {
		listen, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listen.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = Dial(ctx, "tls://"+listen.Addr().String(), Options{})
		if got := (*ConnectError)(nil); !errors.As(err, &got) || got.Problem != "it does not answer in time" {
			t.Errorf("want that it does not answer, got %v", err)
		}
	})
}

// A relay may want a certificate of the client, which TLS 1.3 says only after
// the handshake.
func TestAClientShowsItsCertificate(t *testing.T) {
	authority, other := certificatetest.Named(t, "the right one"), certificatetest.Named(t, "another")
	serving := authority.Serving()
	serving.ClientAuth, serving.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool
	for name, test := range map[string]struct {
		by      *certificatetest.Authority
		problem string
	}{
		"right":   {authority, ""},
		"none":    {nil, "it wants a certificate of this client"},
		"another": {other, "it (does not accept the|wants a) certificate of this client"},
	} {
		t.Run(name, func(t *testing.T) {
			relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: TLS, TLS: serving})
			files := Certificates{CA: authority.File}
			if test.by != nil {
				files.Certificate, files.Key = test.by.Issue("client", nil)
			}
			config, err := files.Load()
			if err != nil {
				t.Fatal(err)
			}
			c := dial(t, relay.URL, Options{TLS: config})
			receiving(t, c)
			if test.problem == "" {
				send(t, c, "x")
				if got := relay.Next(t); got != "x" {
					t.Errorf("want x, got %q", got)
				}
				return
			}
			eventually(t, "the loss known", func() bool { return c.Lost() != nil })
			lost := c.Lost()
			if !lost.TurnedAway || !regexp.MustCompile("^"+test.problem+"$").MatchString(lost.Problem) || lost.Hint != certificate {
				t.Errorf("want %q, got %+v", test.problem, lost)
			}
		})
	}
}

func TestCertificatesThatCannotBeLoaded(t *testing.T) {
	authority := certificatetest.New(t)
	certificate, key := authority.Issue("one", nil)
	_, otherKey := authority.Issue("other", nil)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		files Certificates
		want  string
	}{
		{Certificates{CA: empty}, "--ca: " + empty + " has no certificate: want PEM, -----BEGIN CERTIFICATE-----"},
		{Certificates{CA: "none"}, "--ca: none: no such file or directory"},
		{Certificates{CA: key}, "--ca: " + key + " has no certificate: want PEM, -----BEGIN CERTIFICATE-----"},
		{Certificates{Certificate: certificate, Key: "none"}, "--key: none: no such file or directory"},
		{Certificates{Certificate: certificate, Key: otherKey}, "--key: " + otherKey + ": private key does not match public key"},
		{Certificates{Certificate: empty, Key: key}, "--certificate: " + empty + ": failed to find any PEM data in certificate input"},
		{Certificates{Certificate: certificate, Key: empty}, "--key: " + empty + ": failed to find any PEM data in key input"},
	} {
		_, err := test.files.Load()
		if bad := (*CertificateError)(nil); !errors.As(err, &bad) || err.Error() != test.want {
			t.Errorf("%+v:\nwant %s\ngot  %v", test.files, test.want, err)
		}
	}
	config, err := (Certificates{CA: authority.File, Certificate: certificate, Key: key, ServerName: "x"}).Load()
	if err != nil || config.ServerName != "x" || len(config.Certificates) != 1 || config.RootCAs.Equal(x509.NewCertPool()) {
		t.Errorf("want all of it loaded, got %+v, %v", config, err)
	}
}
