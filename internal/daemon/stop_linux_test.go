package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/state"
	"udprelay/internal/testwait"
)

// The relay goes on until everything beside it has ended.
func TestRelayingEndsLast(t *testing.T) {
	var log lockedBuffer
	cfg := configured(t, keyed("listen", "127.0.0.1:0"), keyed("gateway.tcp.listen", "127.0.0.1:0"))
	options := always(cfg, &log)
	output := options.Log(cfg)
	d := &daemon{options: options, loading: make(chan struct{}, 1), started: time.Now(), config: cfg, output: output, log: output.Logger()}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := d.open(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx, nil, new(state.Snapshot)) }()
	addr := net.UDPAddrFromAddrPort(d.relay.Addr())
	client, err := net.Dial("tcp", log.await(t, `gateway open" key=gateway\.tcp\.listen listen=(\S+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	one, two := enter(t, "127.0.0.2", addr), enter(t, "127.0.0.3", addr)
	testwait.Until(t, func() bool { return len(d.relay.Peers().Peers()) == 3 }, "want three peers")

	d.reloading.Lock() // a part that does not end
	cancel()
	client.SetReadDeadline(time.Now().Add(testwait.Patience))
	if _, err := io.Copy(io.Discard, client); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("want the gateway closed")
	}
	testwait.Until(t, func() bool { return len(d.relay.Peers().Peers()) == 2 }, "want the client of the gateway gone")
	for range 100 {
		one.say(t, "during the stop")
		two.hears(t, "during the stop")
	}
	select {
	case err := <-ended:
		t.Errorf("want the relay to go on, got its end: %v", err)
	default:
	}
	d.reloading.Unlock()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	output.Close(testwait.Patience)
	if !log.Has("received=102 delivered=100 dropped=0") {
		t.Errorf("want 102 received, 100 delivered and none dropped, got\n%s", &log)
	}
}

// Clients that take nothing do not delay the stop. What was sent meanwhile is
// relayed, or waits in the socket for the next process.
func TestNoClientDelaysTheStop(t *testing.T) {
	directory := shortDirectory(t)
	kept := listenUDP(t, "udp4", "127.0.0.1:0")
	address := kept.LocalAddr().(*net.UDPAddr)
	sink, err := net.Listen("tcp4", "127.0.0.1:0") // a node that takes connections and nothing else
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	d := start(t, surroundings{directory: directory, sockets: []*os.File{passed(t, kept, storedName)}},
		keyed("listen", address.String()), keyed("log.level", "debug"), keyed("admin.http", "127.0.0.1:0"), keyed("gateway.queue", "64KiB"),
		keyed("gateway.tcp.listen", "127.0.0.1:0"), keyed("gateway.websocket.listen", "127.0.0.1:0"),
		keyed("cluster.name", "a"), keyed("cluster.listen", "127.0.0.1:0"), keyed("cluster.routes", sink.Addr().String()))
	d.addr(t)
	client := admin.Client{Socket: directory + "/" + controlName}

	stuck := func(where, request string) {
		conn, err := net.Dial("tcp", where)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.(*net.TCPConn).SetReadBuffer(2 << 10)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
	}
	stuck(d.await(t, `gateway open" key=gateway\.tcp\.listen listen=(\S+)`)[1], "")
	stuck(d.await(t, `gateway open" key=gateway\.websocket\.listen listen=(\S+)`)[1], "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	page := d.await(t, `dashboard and metrics" at=http://([^/]+)/`)[1]
	stuck(page, "GET /api/v1/events HTTP/1.1\r\nHost: "+page+"\r\n\r\n")
	startTap(t, d, directory, admin.Tap{}) // which nobody reads

	listener, speaker := enter(t, "127.0.0.2", address), enter(t, "127.0.0.3", address)
	status := func() admin.Status {
		status, err := client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	testwait.Until(t, func() bool { return status().Counters.Joined == 4 }, "want four peers")
	padding := strings.Repeat("x", 60_000)
	for deadline := time.Now().Add(testwait.Patience); ; {
		for range 20 {
			speaker.say(t, padding)
		}
		page, err := client.Peers(t.Context(), admin.Query{Kind: "connected", Limit: 10})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("want the queues of the clients full, got %+v, %v", page, err)
		}
		full := 0
		for _, p := range page.Peers {
			if p.Dropped["queue_full"] > 0 {
				full++
			}
		}
		if full == 2 {
			break
		}
	}

	// From here on, each datagram has its number.
	heard := make(chan []bool, 1)
	var sent, last atomic.Int64
	go func() {
		var got []bool
		buffer := make([]byte, 1<<16)
		for {
			n, err := listener.Read(buffer)
			if err != nil {
				heard <- got
				return
			}
			if n != 8 {
				continue
			}
			number := int(binary.BigEndian.Uint64(buffer))
			for len(got) <= number {
				got = append(got, false)
			}
			got[number] = true
			last.Store(int64(number))
		}
	}()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for pause := time.NewTicker(time.Millisecond); ; {
			select {
			case <-stop:
				pause.Stop()
				return
			case <-pause.C:
				var number [8]byte
				binary.BigEndian.PutUint64(number[:], uint64(sent.Load()))
				if _, err := speaker.Write(number[:]); err != nil {
					t.Errorf("send: %v", err)
				}
				sent.Add(1)
			}
		}
	}()
	testwait.Until(t, func() bool { return last.Load() >= 20 }, "want it to relay")
	before := sent.Load()
	began := time.Now()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	took, after := time.Since(began), sent.Load()
	close(stop)
	<-stopped

	waiting := make(map[int]bool)
	raw, err := kept.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<16)
	raw.Control(func(fd uintptr) {
		for {
			n, _, err := syscall.Recvfrom(int(fd), buffer, syscall.MSG_DONTWAIT)
			if err != nil {
				return
			}
			for ; n >= 8; n -= 8 { // datagrams of a train come together
				waiting[int(binary.BigEndian.Uint64(buffer[n-8:]))] = true
			}
		}
	})
	testwait.Until(t, func() bool { return last.Load() >= sent.Load()-1 || waiting[int(last.Load())+1] }, func() string {
		return "want the last that was relayed heard, got up to " + strconv.Itoa(int(last.Load()))
	})
	listener.Close()
	got := <-heard
	lost := 0
	for number := range int(sent.Load()) {
		if !waiting[number] && (number >= len(got) || !got[number]) {
			lost++
		}
	}
	t.Logf("stopped within %v; of %d datagrams sent meanwhile %d were relayed", took, after-before, int64(len(got))-before)
	if lost > 0 {
		t.Errorf("want no datagram lost, got %d of %d", lost, sent.Load())
	}
	if most := 700 * time.Millisecond; took > most {
		t.Errorf("want a stop within %v, got one of %v", most, took)
	}
	if int64(len(got)) <= before {
		t.Errorf("want datagrams relayed that were sent after the stop had begun, got %d relayed of %d sent before", len(got), before)
	}
}
