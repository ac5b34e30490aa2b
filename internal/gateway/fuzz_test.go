package gateway

import (
	"fmt"
	"net"
	"testing"

	"udprelay/internal/framing"
	"udprelay/internal/proof"
	"udprelay/peers"
	"udprelay/relay"
)

// Whatever a client sends, in whatever pieces, it is frames and then an end,
// each whole frame of one that is in is received, and the client is gone when
// its connection is.
func FuzzClient(f *testing.F) {
	frame := func(payloads ...string) (frames []byte) {
		for _, p := range payloads {
			frames = framing.Append(frames, []byte(p))
		}
		return frames
	}
	f.Add(frame("hello", "", "you"), uint8(3), false)
	f.Add(frame(string(secret), "more"), uint8(0), true)
	f.Add(frame("", proof.Hello, string(proof.Join("0123456789abcdef0123", secret))), uint8(1), true)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(7), false)
	f.Add([]byte{255, 255, 0}, uint8(0), false)
	var rooms [2]*room // one where all are let in, one that asks for the secret
	for i, join := range []peers.Join{peers.JoinOpen, peers.JoinSecret} {
		rooms[i] = openRoom(f, func(o *relay.Options, g *Options) {
			o.Peers.Access = []peers.Rule{rule("any", peers.MayBoth, join)}
			o.Secret, g.Secret = secret, secret
			o.Logger = nil
		})
	}
	f.Fuzz(func(t *testing.T, bytes []byte, pieces uint8, asks bool) {
		r := rooms[0]
		if asks {
			r = rooms[1]
		}
		r.log.Reset()
		received := r.relay.Stats().Received
		near, far := net.Pipe()
		l := &listener{gateway: r.gateway, way: byTCP}
		s := &stream{raw: near, conn: near, reader: framing.NewReader(near)}
		c := l.newClient(s, r.relay.Addr(), peers.TCP)
		done := make(chan struct{})
		r.gateway.working.Go(func() { defer close(done); r.gateway.serve(c) })
		go func() { // takes the answers
			for buffer := make([]byte, 100); ; {
				if _, err := far.Read(buffer); err != nil {
					return
				}
			}
		}()
		size := max(1, len(bytes)/(int(pieces)+1))
		for rest := bytes; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := far.Write(rest[:n]); err != nil {
				break // it was refused
			}
			rest = rest[n:]
		}
		far.Close()
		<-done
		count, _ := framing.Count(bytes)
		got := int(r.relay.Stats().Received - received)
		if !asks && got != count || got > count {
			t.Errorf("want %d frames received; got %d", count, got)
		}
		whole := 0
		for _, rest, ok := framing.Next(bytes); ok; _, rest, ok = framing.Next(rest) {
			whole = len(bytes) - len(rest)
		}
		if want := map[bool]Reason{true: Left, false: BadFrame}[whole == len(bytes)]; !asks && c.why() != want {
			t.Errorf("want the end %v; got %v", want, c.why())
		}
		if left := r.relay.Peers().Peers(); len(left) != 0 || r.gateway.Stats().Clients[peers.TCP] != 0 {
			t.Errorf("want nobody left; got %v", fmt.Sprint(left))
		}
		r.t = t
		r.balance()
	})
}
