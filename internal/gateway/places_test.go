package gateway

import (
	"net"
	"testing"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/peers"
	"udprelay/relay"
)

// One host that opens connections and leaves them, handshakes included, has no
// more places than it may have peers.
func TestConnectionsOfOneHostAreBounded(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) {
		o.TLS, o.Certificates, o.PerAddress = here, loadCertificate(t, authority, ""), 3
	})
	var open []net.Conn
	for range 3 {
		open = append(open, r.dial(peers.TLS, "")) // which say nothing
	}
	await(t, func() bool { return r.gateway.Stats().Connections == 3 }, func() string { return "want three connections" })
	for n := range 2 {
		conn := r.dial(peers.TCP, "")
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("want the connection closed; got an answer")
		}
		r.awaitEnded(TooMany, uint64(n+1))
	}
	open[0].Close()
	await(t, func() bool { return r.gateway.Stats().Connections == 2 }, func() string { return "want a free place" })
	r.tcp()
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock()
	if got := len(r.gateway.hosts); got != 1 {
		t.Errorf("want one host; got %d", got)
	}
}
