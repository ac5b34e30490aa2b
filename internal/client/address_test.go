package client

import (
	"errors"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]Address{
		"localhost:9000":               {UDP, "localhost:9000", ""},
		"udp://[::1]:9000":             {UDP, "[::1]:9000", ""},
		"tcp://relay.example:9002":     {TCP, "relay.example:9002", ""},
		"TLS://192.0.2.1:9002":         {TLS, "192.0.2.1:9002", ""},
		"tcp://[fe80::1%eth0]:9002":    {TCP, "[fe80::1%eth0]:9002", ""},
		"ws://relay.example":           {WebSocket, "relay.example:80", "/"},
		"wss://relay.example/a/b?c=d":  {SecureWebSocket, "relay.example:443", "/a/b?c=d"},
		"wss://relay.example:9003?c=d": {SecureWebSocket, "relay.example:9003", "/?c=d"},
		"ws://[::1]":                   {WebSocket, "[::1]:80", "/"},
		"ws://[fe80::1%eth0]:9003/":    {WebSocket, "[fe80::1%eth0]:9003", "/"},
	} {
		got, err := ParseAddress(address)
		if got != want || err != nil {
			t.Errorf("%s: want %+v, got %+v, %v", address, want, got, err)
		}
		if again, err := ParseAddress(got.String()); again != got || err != nil {
			t.Errorf("%s: want it again from %s, got %+v, %v", address, got, again, err)
		}
	}
}

func TestParseAddressSaysWhatWouldDo(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]AddressError{
		"relay.example":          {Problem: "the port is missing", Form: "HOST:PORT", Want: "relay.example:9000"},
		"tcp://relay.example":    {Problem: "the port is missing", Form: "tcp://HOST:PORT", Want: "tcp://relay.example:9000"},
		"tls://::1":              {Problem: "an IPv6 address goes in brackets, and a port after them", Form: "tls://HOST:PORT", Want: "tls://[::1]:9000"},
		"tcp://":                 {Problem: "the port is missing", Form: "tcp://HOST:PORT", Want: "tcp://localhost:9000"},
		"tcp://a:9000/":          {Problem: "a path has a meaning only with ws:// and wss://", Form: "tcp://HOST:PORT", Want: "tcp://a:9000"},
		"ws:///path":             {Problem: "the port is missing", Form: "ws://HOST:PORT/PATH", Want: "ws://localhost:9000/path"},
		"ws://a:0/path":          {Problem: `port "0" is not a number from 1 to 65535`, Form: "ws://HOST:PORT/PATH", Want: "ws://a:9000/path"},
		"ws://user:word@a:1/":    {Problem: "only a host and a port are wanted before the path", Form: "ws://HOST:PORT/PATH", Want: "ws://localhost:9000/"},
		"wss://user@a:1/":        {Problem: "only a host and a port are wanted before the path", Form: "wss://HOST:PORT/PATH", Want: "wss://localhost:9000/"},
		"ws://a:1/#part":         {Problem: "the path cannot be understood", Form: "ws://HOST:PORT/PATH", Want: "ws://a:1/"},
		"ws://a:1/%zz":           {Problem: "the path cannot be understood", Form: "ws://HOST:PORT/PATH", Want: "ws://a:1/"},
		"https://relay.example/": {Problem: `"https" is no way to reach a relay`, Form: "HOST:PORT (UDP), or tcp://, tls://, ws:// or wss:// before it", Want: "tcp://localhost:9000"},
	} {
		want.Address = address
		_, err := ParseAddress(address)
		if got := (*AddressError)(nil); !errors.As(err, &got) || *got != want {
			t.Errorf("%s:\nwant %+v\ngot  %+v", address, want, got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, address := range []string{"a:1", "tcp://a:1", "ws://[fe80::1%x]/p?q", "wss://a:b@c", "udp://::1", "ws://a:1/%41#"} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		got, err := ParseAddress(address)
		if bad := (*AddressError)(nil); err != nil && (!errors.As(err, &bad) || bad.Problem == "" || bad.Form == "" || bad.Want == "") {
			t.Fatalf("%q: want a whole *AddressError, got %+v", address, err)
		}
		if err != nil {
			return
		}
		if again, err := ParseAddress(got.String()); again != got || err != nil {
			t.Fatalf("%q: want %+v again, got %+v, %v", address, got, again, err)
		}
	})
}
