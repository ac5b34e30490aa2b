package config

import (
	"strings"
	"testing"
)

func TestURLOfNATSIsRefusedWithTheExactMessage(t *testing.T) {
	const (
		want    = `; want a URL of NATS such as nats://nats.example:4222, several separated by commas, at most 1500 bytes, or none or "" for none`
		port    = "the port is no number from 1 to 65535" + want
		comma   = "has nothing before or after a comma" + want
		escaped = "the user or the password has a character in it that a URL has escaped; want such as %40 for @, %2F for / and %25 for %"
		scheme  = "a user comes without a scheme before it, or a password has a comma in it; want such as nats://USER:PASSWORD@nats.example:4222, with %2C for a comma"
		zone    = "; want such as nats://[fe80::1%25eth0]:4222"
		colons  = "there are too many colons, or an IPv6 address without brackets; want such as nats://[2001:db8::1]:4222"
		name    = "; want a host name such as collector.example, or an IP address"
	)
	for text, want := range map[string]string{
		"nats.example:4222":         `"nats.example:4222" has no scheme; did you mean "nats://nats.example:4222"?`,
		"nats.example":              `"nats.example" has no scheme; did you mean "nats://nats.example"?`,
		"a.example, 192.0.2.1:4222": `"a.example" has no scheme; did you mean "nats://a.example"?`,
		"\u00f6.example":            "has no scheme" + want,
		strings.Repeat("a.", 40):    "has no scheme" + want,
		"nnoe":                      `unknown word "nnoe"; did you mean "none"?`,

		"http://nats.example:8222":  `"http://nats.example:8222" is no URL of NATS; did you mean "nats://nats.example:8222"?`,
		"https://nats.example":      `"https://nats.example" is no URL of NATS; did you mean "tls://nats.example"?`,
		"NATS://nats.example":       `"NATS" is not in lower case; did you mean "nats://nats.example"?`,
		"amqp://nats.example":       `"amqp" is no scheme of NATS; want nats, tls, ws or wss`,
		"nats://a.example,wss://b.": `"wss://b." is a WebSocket and "nats://a.example" is none; want all alike`,

		"nats://":                            `"nats://" has no host` + want,
		"nats://:4222":                       `"nats://:4222" has no host` + want,
		"nats://nats.example:0":              port,
		"nats://nats.example:65536":          port,
		"nats://nats.example:04222":          port,
		"nats://nats.example:":               port,
		"nats://nats.example/room":           `"nats://nats.example/room" has more than a host and a port; did you mean "nats://nats.example"?`,
		"ws://nats.example/?a=b#c":           `"ws://nats.example/?a=b#c" has more than a host and a port; did you mean "ws://nats.example"?`,
		"nats://a.example,":                  comma,
		"nats://a.example, ,nats://b.exampl": comma,
		"nats://2001:db8::1:4222":            colons,
		"nats://a:1:2":                       colons,
		"nats://[fe80::1%eth0]:4222":         `"nats://[fe80::1%eth0]:4222" has a zone that is not escaped` + zone,
		"nats://[::]:4222":                   ":: stands for every address; want the address of one server",
		"nats://a b.example":                 `"a b.example" is no host name: it has a ' '` + name,

		"nats://me:sword/fish@nats.example":             escaped,
		"nats://me:sword%fish@nats.example":             escaped,
		"nats://me:sword@fish@nats.example":             escaped,
		"nats://me:sword,fish@nats.example":             scheme,
		"me:swordfish@nats.example:4222":                scheme,
		"nats://a.example,me:swordfish@nats.example":    scheme,
		"nats://:swordfish@nats.example":                `"nats://:xxxxx@nats.example" has no user; want USER:PASSWORD or a token before the "@"`,
		"nats://@nats.example":                          `"nats://xxxxx@nats.example" has no user; want USER:PASSWORD or a token before the "@"`,
		"http://me:swordfish@nats.example":              `"http://me:xxxxx@nats.example" is no URL of NATS; did you mean "nats://me:xxxxx@nats.example"?`,
		"TLS://swordfish@nats.example":                  `"TLS" is not in lower case; did you mean "tls://xxxxx@nats.example"?`,
		"nats://me:swordfish@nats.example/room":         `"nats://me:xxxxx@nats.example/room" has more than a host and a port; did you mean "nats://me:xxxxx@nats.example"?`,
		"nats://me:swordfish@:1":                        `"nats://me:xxxxx@:1" has no host` + want,
		"nats://me:swordfish@":                          `"nats://me:xxxxx@" has no host` + want,
		"me:swordfish":                                  "has no scheme" + want,
		"http://me:swordfish":                           "is no URL of NATS" + want,
		"nats://me:swordfish/room":                      "has more than a host and a port" + want,
		"nats://me:swordfish":                           port, // the host was forgotten
		"nats://me:swordfish,nats://b.example":          port,
		"nats://swordfish@a.example,ws://b.example":     `"ws://b.example" is a WebSocket and "nats://xxxxx@a.example" is none; want all alike`,
		"nats://me:" + strings.Repeat("swordfish", 170): "has 1540 bytes" + want,
	} {
		_, _, err := tryLoad(t, "", []string{"UDPRELAY_CLUSTER_URL=" + text}, nil)
		wantError(t, err, "UDPRELAY_CLUSTER_URL: cluster.url: "+want)
	}
}

func TestURLOfNATSIsShownWithoutItsPassword(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		None:                                 None,
		"nats://a.example:4222":              "nats://a.example:4222",
		"nats://a,tls://[2001:db8::1]":       "nats://a,tls://[2001:db8::1]",
		"nats://me:sword%2Cfish@a":           "nats://me:xxxxx@a",
		"nats://me:sword:fish@a":             "nats://me:xxxxx@a",
		"nats://me:@a":                       "nats://me:xxxxx@a",
		"ws://swordfish@a":                   "ws://xxxxx@a",
		"nats://a, nats://swordfish@b:1":     "nats://a, nats://xxxxx@b:1",
		" tls://swordfish@a,tls://me:fish@b": " tls://xxxxx@a,tls://me:xxxxx@b",
		"nats://me:xxxxx@a":                  "nats://me:xxxxx@a",
		"nats://[fe80::1%25eth0]:4222/":      "nats://[fe80::1%25eth0]:4222/",
		"nats://me:s!$&'()*+;=~._-word@a.b":  "nats://me:xxxxx@a.b",
	} {
		loaded, _ := load(t, "", []string{"UDPRELAY_CLUSTER_URL=" + text}, nil)
		if got := loaded.Cluster.ShownURL(); got != want {
			t.Errorf("%q: want %q, got %q", text, want, got)
		}
	}
}

// What is no good URL must not show its password either, wherever it stands.
func TestNoMessageShowsThePasswordOfAURL(t *testing.T) {
	for _, file := range []string{
		"nats://me:swordfish@a\n",
		"- nats://me:swordfish@a\n",
		"nats://me:swordfish@a: 1\n",
		"listen: http://me:swordfish@a\n",
		"listen: http://me:swordfish@" + strings.Repeat("a", 300) + "\n",
		"access: nats://swordfish@a\n",
		"access:\n- from: nats://me:swordfish@a\n",
		"cluster: nats://me:swordfish@a\n",
		"cluster:\n  nats://me:swordfish@a: 1\n",
		"cluster:\n  url: nats://me:sword,swordfish@a\n",
		"cluster:\n  url: !nats://me:swordfish@a x\n",
		"cluster:\n  routes: nats://me:swordfish@a\n",
		"cluster:\n  routes: [nats-route://me:swordfish@a]\n",
		"cluster:\n  listen: wss://swordfish@a\n",
		"cluster:\n  secret_file: nats://me:swordfish@a\n",
		"cluster:\n  name: nats://me:swordfish@" + strings.Repeat("a", 64) + "\n",
		"cluster:\n  room: nats://me:swordfish@a\n",
		"cluster:\n  insecure: nats://me:swordfish@a\n",
		"cluster:\n  queue: \"nats://me:\\u0009swordfish@a\"\n",
		"cluster:\n  queue: nats://me:swordfish@a\n",
	} {
		_, _, err := tryLoad(t, file, nil, nil)
		if err == nil || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("want an error without the password, got %v of\n%s", err, file)
		}
	}
}

// FuzzPassword holds Load to this: whatever is around it, nothing that is said or
// printed has the password of a URL of NATS in it.
func FuzzPassword(f *testing.F) {
	defaults := shipped(f)
	for _, around := range [][2]string{{}, {"a:", ""}, {"", ",b"}, {"", "@b"}, {"a@b,", ""}, {"/", "?#"}, {"%", "%2C"}, {"\"", "\\"}, {" ", "\t"}, {"a@b:1,c:2,", ":"}, {"[", "]:4222"}, {strings.Repeat("a", 1500), ""}} {
		f.Add(around[0], around[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before, "://") || strings.Contains(after, "://") {
			return // what follows may be the name of another user
		}
		text := "nats://me:" + before + "SWORDFISH" + after + "@nats.example"
		said := ""
		loaded, warnings, err := Load(defaults, nil, []string{"UDPRELAY_CLUSTER_URL=" + text}, nil)
		if err != nil {
			said = err.Error()
		} else {
			said = strings.Join(texts(warnings), "\n") + string(loaded.YAML())
		}
		if strings.Contains(said, "SWORDFISH") {
			t.Errorf("%q: want nothing of the password, got %s", text, said)
		}
	})
}
