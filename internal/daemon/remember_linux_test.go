package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"udprelay/internal/state"
	"udprelay/relay"
)

// More comes while the daemon is restarted than the socket, which stays open,
// has room for: what the next one relays and what it says was dropped make what
// was sent.
func TestDropsWhileNobodyRanAreCounted(t *testing.T) {
	const sent = 300
	directory := shortDirectory(t)
	kept := listenUDP(t, "udp4", "127.0.0.1:0")
	address := kept.LocalAddr().(*net.UDPAddr)
	listener := guest{listenUDP(t, "udp4", "127.0.0.1:0")}
	run := func() *running {
		return start(t, surroundings{directory: directory, sockets: []*os.File{passed(t, kept, storedName)}},
			keyed("listen", address.String()), keyed("socket.receive_buffer", "16KiB"), keyed("peers.static", listener.LocalAddr().String()))
	}
	d := run()
	speaker := enter(t, "127.0.0.2", d.addr(t))
	speaker.say(t, "before")
	listener.hears(t, "before")
	flood := func() {
		for range sent {
			speaker.say(t, "meanwhile")
		}
	}
	for range 2 {
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		flood()
		d = run()
		dropped, err := strconv.Atoi(d.await(t, `level=WARN msg="datagrams dropped" reason=receive_queue_full count=(\d+) .*hint="nobody received`)[1])
		if err != nil || dropped < 2 {
			t.Fatalf("want many datagrams dropped, got %d, %v", dropped, err)
		}
		for range sent - dropped {
			listener.hears(t, "meanwhile")
		}
		speaker.say(t, "after")
		listener.hears(t, "after")
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}

	// The numbers of sockets begin anew when the machine starts.
	saved, err := state.Load(filepath.Join(directory, stateName), time.Now())
	if err != nil || saved.Socket == 0 || !saved.SameBoot {
		t.Fatalf("want the number of a socket, got %+v, %v", saved, err)
	}
	flood()
	for _, sameBoot := range []bool{false, true} {
		conn, from, err := openSocket(t.Context(), address.String(), []*os.File{passed(t, kept, storedName)}, discard)
		if err != nil || from == "" {
			t.Fatalf("want the previous socket, got that of %q, %v", from, err)
		}
		r, err := relay.New(conn, relay.Options{})
		if err != nil {
			t.Fatal(err)
		}
		saved.SameBoot = sameBoot
		(&daemon{relay: r, log: discard}).comeBack(saved)
		if got := r.Stats().Dropped[relay.DropReceiveQueueFull] > 0; got != sameBoot {
			t.Errorf("the same boot %v: want drops counted %[1]v, got %v", sameBoot, got)
		}
		runRelay(t, r)
	}
}
