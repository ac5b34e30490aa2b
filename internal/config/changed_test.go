package config

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withCertificate is a file with keys that others need.
const withCertificate = "gateway:\n  tls:\n    certificate: /etc/tls.crt\n    key: /etc/tls.key\n" +
	"cluster:\n  secret_file: /etc/secret\n  tls:\n    certificate: /etc/node.crt\n    key: /etc/node.key\n    ca: /etc/nodes.crt\n"

// another returns a flag that gives the key at path another value than it has
// in base, as the effective configuration shows, and the configuration then.
func another(t *testing.T, base *Config, k *key, path string) (Setting, *Config) {
	t.Helper()
	texts := []string{"[::]:0", "192.0.2.1:8", "7s", "7", "7MiB", "7ms", "any=send", "/x/y", "adm", "https://app.example", "nats://nats.example"}
	if k.value != nil {
		texts = append(texts, k.value.words...)
	}
	for _, text := range texts {
		flag := Setting{"--" + path, path, text}
		if loaded, _, err := tryLoad(t, withCertificate, nil, []Setting{flag}); err == nil && !bytes.Equal(loaded.YAML(), base.YAML()) {
			return flag, loaded
		}
	}
	t.Fatalf("%s: want a value other than the default among %q; add one", path, texts)
	return Setting{}, nil
}

func TestEveryKeyThatChangesIsFound(t *testing.T) {
	base, _ := load(t, withCertificate, nil, nil)
	var flags [2][]Setting
	var want [2][]string
	visit(schema, "", func(k *key, path string) {
		if strings.Contains(path, "[]") {
			return
		}
		flag, loaded := another(t, base, k, path)
		for _, got := range [][]string{Changed(base, loaded), Changed(loaded, base)} {
			if !slices.Equal(got, []string{path}) {
				t.Errorf("want %s, got %q", path, got)
			}
		}
		if got := Changed(loaded, loaded); got != nil {
			t.Errorf("%s: want no change of what is the same, got %q", path, got)
		}
		n := 0 // what goes with cluster.url does not go with the rest of the cluster
		if path == natsKey || path == credentialsKey {
			n = 1
		}
		flags[n] = append(flags[n], flag)
		want[n] = append(want[n], path)
	})
	for n := range flags {
		slices.Reverse(flags[n])
		loaded, _ := load(t, withCertificate, nil, flags[n])
		if diff := cmp.Diff(want[n], Changed(base, loaded)); diff != "" {
			t.Errorf("all at once, in the order of the schema (-want +got):\n%s", diff)
		}
	}
}

func TestAChangeWithinAListIsAChangeOfTheList(t *testing.T) {
	const file = "peers:\n  static:\n  - address: 192.0.2.1:1\n  - address: 192.0.2.2:1\naccess:\n- from: any\n  may: send\n  join: cookie\n- from: 192.0.2.0/24\n"
	base, _ := load(t, file, nil, nil)
	for _, c := range []struct{ old, new, want string }{
		{"192.0.2.2:1", "192.0.2.2:2", "peers.static"},
		{"  - address: 192.0.2.2:1\n", "", "peers.static"},
		{"may: send", "may: receive", "access"},
		{"join: cookie", "join: open", "access"},
		{"192.0.2.0/24", "192.0.2.0/25", "access"},
		{"- from: 192.0.2.0/24\n", "", "access"},
	} {
		if n := strings.Count(file, c.old); n != 1 {
			t.Fatalf("want %q once, got %d", c.old, n)
		}
		loaded, _ := load(t, strings.Replace(file, c.old, c.new, 1), nil, nil)
		if got := Changed(base, loaded); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%q instead of %q: want %s, got %q", c.new, c.old, c.want, got)
		}
	}
}

func TestAnotherWayToWriteTheSameIsNoChange(t *testing.T) {
	base, _ := load(t, "", nil, nil)
	for _, file := range []string{"peers:\n  expiry: 1m\n", "socket:\n  send_buffer: 8192KiB\n  coalesce: \"0\"\n", "access:\n- from: loopback\n  may: both\n- from: private\n- from: link-local\n  join: open\n", "peers: {static: []}\n"} {
		loaded, _ := load(t, file, nil, nil)
		if got := Changed(base, loaded); got != nil {
			t.Errorf("want no change, got %q of\n%s", got, file)
		}
	}
	for _, key := range []string{"http", "group"} {
		off, _ := load(t, "admin:\n  "+key+": none\n", nil, nil)
		if got := Changed(off, first(load(t, "admin:\n  "+key+": \"\"\n", nil, nil))); got != nil {
			t.Errorf("want no change from none to an empty text, got %q", got)
		}
	}
	empty := *base
	empty.Peers.Static = []StaticPeer{}
	if got := Changed(base, &empty); got != nil {
		t.Errorf("want no change by an empty list, got %q", got)
	}
}
