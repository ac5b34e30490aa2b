package daemon

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testwait"
	"udprelay/peers"
	"udprelay/relay"
)

// managed makes this process one that a service manager watches, and returns
// where it is told.
func managed(t *testing.T) *net.UnixConn {
	t.Helper()
	name := filepath.Join(shortDirectory(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return conn
}

// told waits for a message that begins with what.
func told(t *testing.T, manager *net.UnixConn, what string) string {
	t.Helper()
	manager.SetReadDeadline(time.Now().Add(testwait.Patience))
	buffer := make([]byte, 4096)
	for {
		n, err := manager.Read(buffer)
		if err != nil {
			t.Fatalf("want to be told %q: %v", what, err)
		}
		if message := string(buffer[:n]); strings.HasPrefix(message, what) {
			return message
		}
	}
}

func TestTheServiceManagerIsToldWhatGoesOn(t *testing.T) {
	manager := managed(t)
	t.Setenv("WATCHDOG_USEC", "60000") // 60 ms
	d := start(t, surroundings{})
	if got := told(t, manager, "FDSTORE=1"); got != "FDSTORE=1\nFDNAME=udprelay-stored\nFDPOLL=0" {
		t.Errorf("want the socket stored, got %q", got)
	}
	if got, want := told(t, manager, "READY=1"), "READY=1\nSTATUS="+d.addr(t).String()+": 0 peers, in a second 0 datagrams received, 0 delivered, 0 dropped"; got != want {
		t.Errorf("want %q, got %q", want, got)
	}
	for range 3 {
		told(t, manager, "WATCHDOG=1")
	}
	d.reload <- nil
	told(t, manager, "RELOADING=1\nMONOTONIC_USEC=")
	told(t, manager, "READY=1\nSTATUS=reloaded")
	_, _, err := d.load()
	if err != nil {
		t.Fatal(err)
	}
	d.spoil(net.ErrClosed)
	d.reload <- nil
	told(t, manager, "READY=1\nSTATUS=not reloaded, the previous configuration holds: "+net.ErrClosed.Error())
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	told(t, manager, "STOPPING=1")
}

// A hanging link takes the relay's loop with it.
type hanging struct{ entered, leave chan struct{} }

func (h hanging) Name() string { return "hanging" }

func (h hanging) Deliver([]relay.Datagram) {
	h.entered <- struct{}{}
	<-h.leave
}

// loopbackRelay runs a relay for clients of this machine.
func loopbackRelay(t *testing.T) *relay.Relay {
	t.Helper()
	loopback, err := peers.ParseFrom("loopback")
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(listenUDP(t, "udp4", "127.0.0.1:0"), relay.Options{Peers: peers.Options{
		Expiry: time.Minute,
		Access: []peers.Rule{{Cover: loopback, May: peers.MayBoth}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	runRelay(t, r)
	return r
}

func TestTheWatchdogStarvesWhenTheLoopHangs(t *testing.T) {
	manager := managed(t)
	log := new(lockedBuffer)
	r := loopbackRelay(t)
	d := &daemon{relay: r, log: textLog(log)}
	const interval = 30 * time.Second // far away: the loop hangs or not, whatever the time
	d.feedWatchdog(t.Context(), interval)
	told(t, manager, "WATCHDOG=1")

	link := hanging{make(chan struct{}), make(chan struct{})}
	r.Attach(link)
	enter(t, "127.0.0.2", net.UDPAddrFromAddrPort(r.Addr())).say(t, "hang")
	<-link.entered
	d.feedWatchdog(t.Context(), 30*time.Millisecond)
	log.await(t, `level=ERROR msg="the relay makes no turn; the watchdog is not fed"`)
	manager.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := manager.Read(make([]byte, 100)); err == nil {
		t.Errorf("want nothing told, got %d bytes", n)
	}
	close(link.leave)
	d.feedWatchdog(t.Context(), interval)
	told(t, manager, "WATCHDOG=1")
}

func TestChangesAreSummedUp(t *testing.T) {
	log := new(lockedBuffer)
	r := loopbackRelay(t)
	c := &changes{relay: r, log: textLog(log)}
	c.say()
	if got := log.String(); got != "" {
		t.Errorf("want nothing said where nothing changed, got %q", got)
	}
	one := enter(t, "127.0.0.2", net.UDPAddrFromAddrPort(r.Addr()))
	two := enter(t, "127.0.0.3", net.UDPAddrFromAddrPort(r.Addr()))
	two.say(t, "here")
	one.hears(t, "here")
	c.say()
	c.say()
	if got, want := strings.Count(log.String(), "\n"), 1; got != want {
		t.Errorf("want one line, got\n%s", log)
	}
	log.await(t, `level=INFO msg="peers changed" joined=2 left=0 learned=2 static=0`)
}
