package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzLoad holds Load to this: it never panics; an error names a place within
// the file and fits on one line; what loads, printed and loaded again, is the
// same, but for passwords.
func FuzzLoad(f *testing.F) {
	defaults := shipped(f)
	f.Add(defaults)
	for _, directory := range []string{"bad", "good"} {
		for _, file := range inputs(f, directory) {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		loaded, warnings, err := Load(defaults, &File{Name: "fuzz.yaml", Data: data}, nil, nil)
		for _, w := range warnings {
			checkPlace(t, data, w.Place, w.Message)
		}
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("want Errors, got %T", err)
			}
			for _, e := range errs {
				checkPlace(t, data, e.Place, e.Message)
			}
			return
		}
		again, _, err := Load(defaults, &File{Name: "again.yaml", Data: loaded.YAML()}, nil, nil)
		if err != nil {
			t.Fatalf("want the effective configuration to load, got %v of\n%s", err, loaded.YAML())
		}
		loaded.Cluster.URL = loaded.Cluster.ShownURL()
		if diff := cmp.Diff(loaded, again, comparePrefixes); diff != "" {
			t.Fatalf("loaded again (-first +second):\n%s", diff)
		}
		if changed := Changed(loaded, again); changed != nil {
			t.Fatalf("want no change, got %q", changed)
		}
	})
}

func checkPlace(t *testing.T, data []byte, place Place, message string) {
	t.Helper()
	if place.Source == DefaultsName {
		return // a warning of what the file left as it was
	}
	text := place.String() + ": " + message
	lines := strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n")
	switch {
	case place.Source != "fuzz.yaml", place.Line < 1, place.Line > len(lines):
		t.Errorf("want a line from 1 to %d, got %s", len(lines), text)
	case place.Column < 1, place.Column > utf8.RuneCountInString(lines[place.Line-1])+1:
		t.Errorf("want a column within the line %q, got %s", lines[place.Line-1], text)
	case message == "", strings.ContainsAny(text, "\n\r"), !utf8.ValidString(text), len(text) > 2000:
		t.Errorf("want one line, got %q", text)
	}
}

// FuzzVariable holds values of the environment to the same.
func FuzzVariable(f *testing.F) {
	defaults := shipped(f)
	var names []string
	for _, path := range schemaPaths() {
		if !strings.Contains(path, "[]") {
			names = append(names, variable(path))
		}
	}
	for path, values := range map[string][]string{
		"listen":                         {"[fe80::1%eth0]:9000"},
		"peers.expiry":                   {"1h30m0.5s", "100000us", "60\u00b5s", "99999999999999us"},
		"peers.static":                   {"a.example:1,[::ffff:1.2.3.4%x]:2"},
		"access":                         {"private,203.0.113.0/24=receive", "any=cookie=send,any==both", "::/0=secret"},
		"join.secret_file":               {"/run/secrets/a b", "C:\\\"\u00fc\u200b\xff"},
		"limits.egress_bytes_per_second": {"0", "1536KiB", "0B"},
		"socket.send_buffer":             {"0x8MiB"},
		"socket.senders":                 {"0", "256", "-1", "\"2\""},
		"socket.coalesce":                {"0", "200us", "1ms500us", "10.0001us", "200\u03bcs", "0us", "1us10h"},
		"gateway.tcp.listen":             {":9000", "none", "nnoe", "127.0.0.1:9001", "[fe80::1%eth0]:0", "*:1"},
		"gateway.tls.listen":             {":1", ":9001"},
		"gateway.tls.certificate":        {"/x", "none", "x.crt", "/\x00"},
		"gateway.tls.key":                {"/x", "C:\\tls.key"},
		"gateway.tls.client_ca":          {"/x", "none"},
		"gateway.websocket.listen":       {"0.0.0.0:9001", "localhost:9001"},
		"gateway.websocket.tls":          {"true", "on"},
		"gateway.websocket.path":         {"/", "/a:", "/a//b", "a", "/a?b", "/~!$&'()*+,;=:@", "/%2e"},
		"gateway.websocket.origins":      {"https://app.example,http://[::1]:8080", "*", "https://app.example/,HTTP://A", "null", "app+x.y-z://1.2.3.4:1", "https://a:443", "://", "http://a:"},
		"gateway.connections":            {"0", "1", "100001"},
		"gateway.queue":                  {"0", "64KiB", "65535B"},
		"gateway.idle":                   {"0", "0s", "100ms", "25h"},
		"cluster.name":                   {"a b", " a", "\u00fc\u200b", strings.Repeat("n", 65)},
		"cluster.room":                   {"main", "0", "NULL", "a.b", "-"},
		"cluster.listen":                 {":6222", "127.0.0.1:9001", "[::1]:0", "localhost:1", "none"},
		"cluster.advertise":              {"relay-a.example:6222", ":1", "none", "[::]:1"},
		"cluster.routes":                 {"a:1,A.:1", "[::1]:1,192.0.2.1:0", "nats://a:b@c:1"},
		"cluster.url":                    {"nats://a, tls://b:c@[::1]:1", "ws://a@b", "nats://a:b,c@d", "http://a:b@c", "a:b@c", "nats://a:b", "nats://a:xxxxx@b", "nats://[fe80::1%25eth0]", "nats://%zz@a", "nats://a/?", "nnoe", ","},
		"cluster.secret_file":            {"/x", "none", "x"},
		"cluster.credentials":            {"/x", "none"},
		"cluster.tls.certificate":        {"/x", "none"},
		"cluster.tls.key":                {"/x"},
		"cluster.tls.ca":                 {"/x", "none"},
		"cluster.insecure":               {"true", "no"},
		"cluster.queue":                  {"256KiB", "0", "1GiB"},
		"admin.socket":                   {"/run/a b\u00fc.sock", "none", "/x/", "/\x00", "@name"},
		"admin.group":                    {"adm", "none", "a b", "\x00", "27"},
		"admin.metrics_per_peer":         {"true", "yes", "1"},
		"admin.http":                     {"none", "[fe80::1%eth0]:0", "0.0.0.0:9001", "*:1", "http://a:80", "relay.example.:65535"},
		"state.file":                     {"nnoe", "C:\\peers", "/\xff"},
	} {
		n := slices.Index(names, variable(path))
		for _, value := range values {
			f.Add(uint8(n), value)
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, value string) {
		name := names[int(n)%len(names)]
		loaded, _, err := Load(defaults, nil, []string{name + "=" + value}, nil)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, name+": ") {
					t.Errorf("want each line to name %s, got %q", name, line)
				}
			}
			return
		}
		again, _, err := Load(defaults, &File{Name: "again.yaml", Data: loaded.YAML()}, nil, nil)
		if err != nil {
			t.Fatalf("want the effective configuration to load, got %v of\n%s", err, loaded.YAML())
		}
		loaded.Cluster.URL = loaded.Cluster.ShownURL()
		if diff := cmp.Diff(loaded, again, comparePrefixes); diff != "" {
			t.Fatalf("loaded again (-first +second):\n%s", diff)
		}
		if changed := Changed(loaded, again); changed != nil {
			t.Fatalf("want no change, got %q", changed)
		}
	})
}
