package gateway

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/framing"
	"udprelay/internal/testneed"
	"udprelay/peers"
	"udprelay/relay"
)

// roomForFiles returns how many files the process may have open, and tries to
// make that so many.
func roomForFiles(t *testing.T, count uint64) int {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, most := range []uint64{max(limit.Max, count), limit.Max} { // the first as root
		if more := (unix.Rlimit{Cur: most, Max: most}); limit.Cur < count && unix.Setrlimit(unix.RLIMIT_NOFILE, &more) == nil {
			limit = more
		}
	}
	return int(min(limit.Cur, count))
}

// bare connects from an address with a socket of which this process keeps
// nothing but its number.
func bare(t *testing.T, from netip.Addr, to netip.AddrPort) (fd int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()})
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)})
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err != nil {
		t.Fatalf("connect from %v to %v: %v", from, to, err)
	}
	return fd
}

// inUse returns what the heap and the stacks take now, in bytes.
func inUse() (heap, stacks int) {
	runtime.GC()
	runtime.GC() // what pools have kept is gone
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.StackInuse)
}

// A connection that says nothing costs little, and what it hears leaves nothing
// behind.
func TestThousandsOfIdleConnections(t *testing.T) {
	needLoopback(t)
	count, most := 10_000, 20<<10
	if raceDetector {
		count = 1000
	}
	count = (roomForFiles(t, uint64(2*count+500)) - 500) / 2
	testneed.True(t, count >= 1000, "2500 open files: run it with a higher limit (ulimit -n)")
	r := openRoom(t, func(o *relay.Options, g *Options) { g.Connections = count + 1 })
	r.tcp().conn.Close() // what is made once
	r.awaitEnded(Left, 1)
	heapBefore, stacksBefore := inUse()
	began := time.Now()
	fds := make([]int, 0, count)
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for n := range count {
		fds = append(fds, bare(t, netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + n%200)}), r.addr(peers.TCP)))
	}
	r.awaitPeers(count)
	t.Logf("%d connected after %v", count, time.Since(began).Round(time.Millisecond))
	measure := func(what string) {
		heap, stacks := inUse()
		heap, stacks = (heap-heapBefore)/count, (stacks-stacksBefore)/count
		t.Logf("%s: for each %d bytes of heap and %d of stacks", what, heap, stacks)
		if heap+stacks > most && !raceDetector {
			t.Errorf("%s: want at most %d bytes for each connection; got %d of heap and %d of stacks", what, most, heap, stacks)
		}
	}
	measure("idle")

	// All hear one of them.
	began = time.Now()
	const said = 20
	var frames []byte
	for n := range said {
		frames = framing.Append(frames, []byte(fmt.Sprintf("%d %s", n, strings.Repeat("x", 500))))
	}
	if _, err := unix.Write(fds[0], frames); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(frames))
	for i, fd := range fds[1:] {
		for n := 0; n < len(frames); {
			more, err := unix.Read(fd, got[n:])
			if err != nil || more <= 0 {
				t.Fatalf("want client %d to hear all %d bytes; got %d, %v", i+1, len(frames), n, err)
			}
			n += more
		}
		if string(got) != string(frames) {
			t.Fatalf("want client %d to hear %s; got %s", i+1, short(string(frames)), short(string(got)))
		}
	}
	t.Logf("all heard %d datagrams after %v", said, time.Since(began).Round(time.Millisecond))
	r.balance()
	r.wantNoDrops()
	measure("idle again")

	// One more than there may be, and one in the place of another.
	extra := r.tcp()
	newStreamTalker(t, r.dial(peers.TCP, "")).wantsEnd()
	r.awaitEnded(TooMany, 1)
	extra.conn.Close()
	r.awaitEnded(Left, 2)
	began = time.Now()
	r.gateway.Close()
	t.Logf("all ended after %v", time.Since(began).Round(time.Millisecond))
	r.awaitPeers(0)
	r.balance()
}

// The options of a listening socket are those of its connections.
func TestConnectionsAreTuned(t *testing.T) {
	r := openRoom(t, nil)
	r.tcp()
	var near *counted
	r.gateway.mu.Lock()
	for made := range r.gateway.clients {
		near = made.wire.(*stream).raw.(*counted)
	}
	r.gateway.mu.Unlock()
	raw, err := near.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for _, o := range []struct {
			name                string
			level, option, want int
		}{
			{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(vanishedAfter / time.Millisecond)},
			{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentAtMost},
			{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle / time.Second)},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval / time.Second)},
			{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount},
		} {
			if got, err := unix.GetsockoptInt(int(fd), o.level, o.option); err != nil || got != o.want {
				t.Errorf("want %s %d; got %d, %v", o.name, o.want, got, err)
			}
		}
	})
}
