//go:build !nocluster

package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestGuardRefusesWhatNoMemoryHasRoomFor(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, test := range []struct {
		name, said string
		want       error
		off        bool
	}{
		{"what servers say", "INFO {\"server_id\":\"a\"}\r\n+OK\r\nPING\r\nPONG\r\nMSG a 1 5\r\nhello\r\nMSG a 1 b 0\r\n\r\nHMSG a 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n-ERR 'no'\r\n", nil, false},
		{"a payload that looks like a message", "MSG a 1 24\r\nMSG a 1 99999999999999999\n\r\nPING\r\n", nil, false},
		{"a payload that ends late", "MSG a 1 1\r\nxMSG a 1 99999999999999999\r\nPING\r\n", nil, false},
		{"the longest message", fmt.Sprintf("MSG a 1 %d\r\n", maxForeign), nil, false},
		{"one longer", fmt.Sprintf("MSG a 1 %d\r\n", maxForeign+1), errForeign, false},
		{"much longer", "MSG a 1 999999999999999\r\n", errForeign, false},
		{"longer than numbers are", "MSG a 1 18446744073709551617\r\n", errForeign, false},
		{"after others", "PING\r\nMSG a 1 5\r\nhello\r\nmsg\ta\t1\tb\t999999999999999 \r\n", errForeign, false},
		{"after a payload that ends late", "MSG a 1 1\r\nxyz\nMSG a 1 999999999999999\r\n", errForeign, false},
		{"with headers", "hMsG a 1 12 999999999999999\r\n", errForeign, false},
		{"with a tab", "MSG\ta 1 999999999999999\n", errForeign, false},
		{"no number", "MSG a 1 x\r\n", nil, false},
		{"nothing", "MSG \r\n", nil, false},
		{"a long line", "INFO {" + long[:maxLine-7] + "\n", nil, false},
		{"a longer line", "INFO {" + long, errLine, false},
		{"a line without an end", long + "x", errLine, false},
		{"TLS", "INFO {\"tls_required\":true}\r\n\x16\x03\x01MSG a 1 999999999999999\r\n", nil, true},
		{"no TLS", "INFO {\"tls_available\":true}\r\nMSG a 1 999999999999999\r\n", errForeign, false},
	} {
		for _, size := range []int{1, 7, 4096, len(test.said)} {
			g, err := new(guard), error(nil)
			for rest := []byte(test.said); len(rest) > 0 && err == nil; rest = rest[min(size, len(rest)):] {
				err = g.check(rest[:min(size, len(rest))])
			}
			if !errors.Is(err, test.want) || g.off != test.off {
				t.Errorf("%s, %d bytes at a time: want %v, off %t; got %v, %t", test.name, size, test.want, test.off, err, g.off)
			}
		}
	}
	g := &guard{secure: true}
	if err := g.check([]byte("INFO {}\r\nMSG a 1 999999999999999\r\n")); err != nil || !g.off {
		t.Errorf("want nothing read of what is encrypted; got %v, %t", err, g.off)
	}
	for urls, want := range map[string]bool{"nats://a:4222": true, "nats://a,tls://b": true, "wss://a": false, "nats://a, WS://b": false, "": true} {
		if got := mayBePlain(urls); got != want {
			t.Errorf("%q: want %t; got %t", urls, want, got)
		}
	}
}

// In whatever pieces it comes, the same is refused.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("INFO {}\r\nMSG a 1 5\r\nhello\r\nHMSG a 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\nPING\r\n"), uint8(3))
	f.Add([]byte("MSG a 1 999999999999999\r\n"), uint8(1))
	f.Add([]byte("INFO {\"tls_required\":true}\r\n\x16"), uint8(9))
	f.Fuzz(func(t *testing.T, said []byte, size uint8) {
		whole := new(guard)
		want := whole.check(bytes.Clone(said))
		g, err := new(guard), error(nil)
		step := max(int(size), 1)
		for rest := said; len(rest) > 0 && err == nil; rest = rest[min(step, len(rest)):] {
			err = g.check(rest[:min(step, len(rest))])
		}
		if !errors.Is(err, want) || err == nil && (g.off != whole.off || g.skip != whole.skip || g.end != whole.end) {
			t.Fatalf("want %v, %+v; got %v, %+v", want, whole, err, g)
		}
		if err == nil && (g.skip < 0 || g.skip > maxForeign || len(g.line) > maxLine) {
			t.Fatalf("want it bounded; got %d to skip and a line of %d", g.skip, len(g.line))
		}
	})
}
