package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withTLS returns the gateways of a configuration whose certificates are in
// files.
func withTLS(t *testing.T, certificate, key, clientCA string) *Gateway {
	t.Helper()
	loaded, warnings := load(t, "gateway:\n  websocket:\n    tls: true\n", []string{
		"UDPRELAY_GATEWAY_TLS_CERTIFICATE=" + certificate, "UDPRELAY_GATEWAY_TLS_KEY=" + key, "UDPRELAY_GATEWAY_TLS_CLIENT_CA=" + clientCA,
	}, []Setting{{"--gateway-websocket", webSocketListenKey, ":0"}})
	if len(warnings) > 0 {
		t.Fatalf("want no warning, got %v", warnings)
	}
	return &loaded.Gateway
}

func TestFilesOfCertificatesAreThoseInUse(t *testing.T) {
	const files = "    certificate: /crt\n    key: /key\n"
	for file, want := range map[string][3]string{
		"": {},
		"gateway:\n  tls:\n    listen: none\n" + files:                                            {},
		"gateway:\n  tls:\n    listen: :1\n" + files:                                              {"/crt", "/key"},
		"gateway:\n  tls:\n    listen: :1\n    client_ca: none\n" + files:                         {"/crt", "/key"},
		"gateway:\n  tls:\n    listen: :1\n    client_ca: /ca\n" + files:                          {"/crt", "/key", "/ca"},
		"gateway:\n  tls:\n" + files + "  websocket:\n    tls: true\n":                            {},
		"gateway:\n  tls:\n" + files + "  websocket:\n    listen: :1\n":                           {},
		"gateway:\n  tls:\n" + files + "  websocket:\n    listen: :1\n    tls: true\n":            {"/crt", "/key"},
		"gateway:\n  tls:\n    certificate: none\n    key: none\n  tcp:\n    listen: :1\n":        {},
		"gateway:\n  tls:\n    client_ca: none\n    certificate: none\n    key: \"\"\n":           {},
		"gateway:\n  tcp:\n    listen: :1\n  tls:\n" + files + "  websocket:\n    listen: none\n": {},
	} {
		loaded, _ := load(t, file, nil, nil)
		certificate, key, clientCA := loaded.Gateway.CertificateFiles()
		if got := [3]string{certificate, key, clientCA}; got != want {
			t.Errorf("want %q, got %q of\n%s", want, got, file)
		}
	}
}

func TestFilesOfCertificatesAreOpened(t *testing.T) {
	good, empty := writeSecret(t, "-----BEGIN", 0o600), writeSecret(t, "", 0o600)
	open := writeSecret(t, "-----BEGIN", 0o644)
	directory := t.TempDir()
	missing := filepath.Join(directory, "missing")
	for _, c := range []struct {
		certificate, key, clientCA string
		want                       string
	}{
		{good, good, None, ""},
		{open, good, open, ""},
		{missing, good, None, missing + ": gateway.tls.certificate: there is no such file"},
		{good, directory, None, directory + ": gateway.tls.key: is a directory; want a file"},
		{good, good, empty, empty + ": gateway.tls.client_ca: is empty; want PEM, lines that begin with -----BEGIN"},
		{missing, missing, missing, missing + ": gateway.tls.certificate: there is no such file"},
	} {
		warnings, err := withTLS(t, c.certificate, c.key, c.clientCA).CheckCertificates()
		if len(warnings) > 0 {
			t.Errorf("want no warning, got %v", warnings)
		}
		if c.want == "" {
			if err != nil {
				t.Errorf("want no error, got %v", err)
			}
			continue
		}
		wantError(t, err, c.want)
		var unreadable *UnreadableCertificate
		if !errors.As(err, &unreadable) || unreadable.ExitCode() != 78 || unreadable.Hint() != "" {
			t.Errorf("want exit code 78 and no hint, got %+v", unreadable)
		}
	}
	loaded, _ := load(t, "gateway:\n  tls:\n    certificate: "+missing+"\n    key: "+missing+"\n", nil, nil)
	if warnings, err := loaded.Gateway.CheckCertificates(); err != nil || warnings != nil {
		t.Errorf("want nothing of files that nobody needs, got %v and %v", warnings, err)
	}
	if runtime.GOOS == "windows" {
		return // no such modes
	}
	warnings, err := withTLS(t, good, open, None).CheckCertificates()
	want := []string{open + ": gateway.tls.key: every user of this machine may read the private key; want a file that others may not read (chmod o-r)"}
	if diff := cmp.Diff(want, texts(warnings)); diff != "" || err != nil {
		t.Errorf("warnings (-want +got):\n%s%v", diff, err)
	}
}

func TestACertificateOfAnotherUserIsNamedWithAWayOut(t *testing.T) {
	err := error(&UnreadableCertificate{"/etc/tls.key", privateKeyKey, &fs.PathError{Op: "open", Path: "/etc/tls.key", Err: fs.ErrPermission}})
	wantError(t, err, "/etc/tls.key: gateway.tls.key: this user may not read the file")
	const want = "give the file to the user that the relay runs as, or with systemd use LoadCredential="
	if hint := err.(*UnreadableCertificate).Hint(); hint != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("want the hint %q, got %q", want, hint)
	}
}

func TestTwoThatListenAtOneAddressAreAMistakeOfTheLater(t *testing.T) {
	flag := []Setting{{"--gateway-tcp", tcpListenKey, ":9001"}}
	line := regexp.MustCompile(`config\.yaml:\d+:\d+`)
	for _, c := range []struct {
		file    string
		environ []string
		flags   []Setting
		want    string
	}{
		{"", nil, flag, `--gateway-tcp: gateway.tcp.listen: ":9001" is not free: admin.http at built-in config.yaml is "127.0.0.1:9001"; want another port`},
		{"gateway:\n  websocket:\n    listen: 192.0.2.1:9001\nadmin:\n  http: none\n", nil, flag,
			`--gateway-tcp: gateway.tcp.listen: ":9001" is not free: gateway.websocket.listen at room.yaml:3:13 is "192.0.2.1:9001"; want another port`},
		{"gateway:\n  tcp:\n    listen: '[::1]:80'\n", []string{"UDPRELAY_ADMIN_HTTP=[0::1]:80"}, nil,
			`UDPRELAY_ADMIN_HTTP: admin.http: "[0::1]:80" is not free: gateway.tcp.listen at room.yaml:3:13 is "[::1]:80"; want another port`},
		{"", []string{"UDPRELAY_GATEWAY_WEBSOCKET_LISTEN=localhost:80", "UDPRELAY_GATEWAY_TCP_LISTEN=[::]:80"}, nil,
			`UDPRELAY_GATEWAY_WEBSOCKET_LISTEN: gateway.websocket.listen: "localhost:80" is not free: gateway.tcp.listen at UDPRELAY_GATEWAY_TCP_LISTEN is "[::]:80"; want another port`},
		{"gateway:\n  tcp:\n    listen: x:9001\nadmin:\n  http: :9001\n", nil, []Setting{{"--admin-http", "admin.http", "x:9001"}},
			`room.yaml:5:9: admin.http: ":9001" stands for every address; want "127.0.0.1:9001", or "[::]:9001" if others are to read who the peers are`},
	} {
		_, _, err := tryLoad(t, c.file, c.environ, c.flags)
		if err != nil {
			err = errors.New(line.ReplaceAllString(err.Error(), "config.yaml"))
		}
		wantError(t, err, c.want)
	}
}

func TestACertificateIsMissedWhereItIsAskedFor(t *testing.T) {
	const without = " needs a certificate, and gateway.tls.certificate and gateway.tls.key are not set; want there the names of PEM files such as /etc/udprelay/tls.crt and /etc/udprelay/tls.key"
	listen := []Setting{{"--gateway-tls", tlsListenKey, ":1"}}
	_, _, err := tryLoad(t, withCertificate, []string{"UDPRELAY_GATEWAY_TLS_CERTIFICATE=none", "UDPRELAY_GATEWAY_TLS_KEY=none"}, listen)
	wantError(t, err, "--gateway-tls: gateway.tls.listen: TLS"+without)
	_, _, err = tryLoad(t, "gateway:\n  websocket:\n    tls: true\n", nil, nil)
	wantError(t, err, "room.yaml:3:10: gateway.websocket.tls: TLS"+without)
	_, _, err = tryLoad(t, withCertificate, []string{"UDPRELAY_GATEWAY_TLS_KEY=none"}, listen)
	wantError(t, err, "room.yaml:3:18: gateway.tls.certificate: needs its private key, and gateway.tls.key is not set; want there the name of a PEM file such as /etc/udprelay/tls.key")
	// A name that is wrong is not missed besides.
	_, _, err = tryLoad(t, "gateway:\n  tls:\n    key: tls.key\n", nil, listen)
	wantError(t, err, `room.yaml:3:10: gateway.tls.key: "tls.key" is no absolute path; want an absolute path such as /etc/udprelay/tls.key, at most 300 bytes, or none or "" for none`)
}

func TestPagesOfAnyOriginAreAWarningAtTheirSource(t *testing.T) {
	const want = "UDPRELAY_GATEWAY_WEBSOCKET_ORIGINS: gateway.websocket.origins[1]: every page that somebody visits may connect from their browser, and comes from their address; want the origins of the pages that are meant, such as https://app.example"
	environ := []string{"UDPRELAY_GATEWAY_WEBSOCKET_ORIGINS=https://app.example, *"}
	_, warnings := load(t, "gateway:\n  websocket:\n    listen: :1\n", environ, nil)
	if diff := cmp.Diff([]string{want}, texts(warnings)); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if _, warnings := load(t, "", environ, nil); len(warnings) > 0 {
		t.Errorf("want no warning where nobody can connect, got %v", warnings)
	}
}

func TestGatewaysAreTurnedOffByEachWayToSayNone(t *testing.T) {
	off, _ := load(t, "", nil, nil)
	for _, key := range []string{tcpListenKey, tlsListenKey, webSocketListenKey, certificateKey, privateKeyKey, clientCAKey} {
		none, warnings := load(t, "", nil, []Setting{{"--" + key, key, None}})
		if got := Changed(off, none); got != nil || len(warnings) > 0 || none.Gateway.on() {
			t.Errorf("%s: want none to be no change, got %q and %v", key, got, warnings)
		}
	}
}
