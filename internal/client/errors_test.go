//go:build unix

package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A fakeConn fails as its test wants, and runs on the clock of a synctest
// bubble, in which real sockets cannot take part.
type fakeConn struct {
	start  time.Time
	reads  chan error
	closed chan struct{}
	close  sync.Once

	mu      sync.Mutex // guards what follows
	sent    []sent
	onWrite func(n int) error // the nth write, from 0
}

// sent is a datagram and when it was.
type sent struct {
	at      time.Duration
	payload string
}

func newFakeConn() *fakeConn {
	return &fakeConn{
		start:   time.Now(),
		onWrite: func(int) error { return nil },
		reads:   make(chan error),
		closed:  make(chan struct{}),
	}
}

func (f *fakeConn) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, sent{time.Since(f.start), string(p)})
	if err := f.onWrite(len(f.sent) - 1); err != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("write", err)}
	}
	return len(p), nil
}

func (f *fakeConn) Read(p []byte) (int, error) {
	select {
	case err := <-f.reads:
		if err != nil {
			return 0, &net.OpError{Op: "read", Net: "udp", Err: os.NewSyscallError("read", err)}
		}
		return copy(p, "payload"), nil
	case <-f.closed:
		return 0, net.ErrClosed
	}
}

func (f *fakeConn) Close() error {
	f.close.Do(func() { close(f.closed) })
	return nil
}

func (f *fakeConn) failWrites(on func(n int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onWrite = on
}

// wantSent compares what was sent, and when.
func (f *fakeConn) wantSent(t *testing.T, want ...sent) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.sent, want) {
		t.Errorf("sent:\nwant %v\ngot  %v", want, f.sent)
	}
}

var relayAddr = netip.MustParseAddrPort("192.0.2.1:9000")

// startFake starts a client on fake with the default keep-alive of 15 s and
// without chance.
func startFake(t *testing.T, fake *fakeConn) *Client {
	t.Helper()
	c, err := start(context.Background(), fake, relayAddr, Options{jitter: func(d time.Duration) time.Duration { return d }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeepAlivesFollowTheLastDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeConn()
		c := startFake(t, fake)
		defer c.Close()
		time.Sleep(20 * time.Second) // the bubble's time: no waiting
		if err := c.Send([]byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		fake.wantSent(t, // the first one again and again, as nothing is heard, then x and keep-alives
			sent{0, ""}, sent{1 * time.Second, ""}, sent{3 * time.Second, ""}, sent{7 * time.Second, ""}, sent{15 * time.Second, ""},
			sent{20 * time.Second, "x"}, sent{35 * time.Second, ""}, sent{50 * time.Second, ""})
	})
}

func TestARefusedClientTriesAgainEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeConn()
		c := startFake(t, fake)
		defer c.Close()
		go func() { _, _ = c.Receive(make([]byte, 10)) }()
		fake.reads <- syscall.ECONNREFUSED // answers the joining datagram
		time.Sleep(1500 * time.Millisecond)
		fake.reads <- syscall.ECONNREFUSED // answers the one after 1 s; the next ones are not refused
		time.Sleep(17 * time.Second)
		fake.wantSent(t, sent{0, ""}, sent{time.Second, ""}, sent{2 * time.Second, ""},
			sent{3 * time.Second, ""}, sent{7 * time.Second, ""}, sent{15 * time.Second, ""})
	})
}

func TestARefusalCountsForWhatWasSentLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeConn()
		c := startFake(t, fake)
		defer c.Close()
		fake.failWrites(func(n int) error { // the first try of each Send
			if n%2 == 1 {
				return syscall.ECONNREFUSED
			}
			return nil
		})
		for i, want := range []Health{
			{},                   // the refusal was that of the joining datagram
			{PayloadsRefused: 1}, // that of the payload before
		} {
			if err := c.Send([]byte("x")); err != nil {
				t.Fatalf("send %d: want it sent after the refusal, got %v", i, err)
			}
			if got := c.Health(); got != want {
				t.Errorf("send %d: want %+v, got %+v", i, want, got)
			}
		}
		fake.wantSent(t, sent{0, ""}, sent{0, "x"}, sent{0, "x"}, sent{0, "x"}, sent{0, "x"})
	})
}

func TestSendErrorsSayWhatCouldNotBeSentWhere(t *testing.T) {
	for name, test := range map[string]struct {
		size    int
		onWrite func(n int) error
		want    string
		is      error
	}{
		"more than UDP carries": {MaxPayload + 1, nil, "send 65508 bytes to 192.0.2.1:9000: too large for one datagram (at most 65507)", ErrTooLarge},
		"more than the system sends": {9217, func(int) error { return syscall.EMSGSIZE },
			"send 9217 bytes to 192.0.2.1:9000: too large for one datagram", ErrTooLarge},
		"no network": {1, func(int) error { return syscall.ENETUNREACH },
			"send to 192.0.2.1:9000: network is unreachable", syscall.ENETUNREACH},
		"no room, then room": {1, func(n int) error {
			if n < 4 {
				return syscall.ENOBUFS
			}
			return nil
		}, "", nil},
		"never room": {1, func(int) error { return syscall.ENOBUFS },
			"send to 192.0.2.1:9000: no buffer space available", syscall.ENOBUFS},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFakeConn()
				c := startFake(t, fake)
				defer c.Close()
				if test.onWrite != nil {
					fake.failWrites(test.onWrite)
				}
				err := c.Send(make([]byte, test.size))
				if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want || !errors.Is(err, test.is)) {
					t.Errorf("\nwant %q\ngot  %v", test.want, err)
				}
			})
		})
	}
}

func TestADialThatCannotJoinFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeConn()
		fake.onWrite = func(int) error { return syscall.EPERM }
		_, err := start(context.Background(), fake, relayAddr, Options{})
		if want := "send to 192.0.2.1:9000: operation not permitted"; err == nil || err.Error() != want {
			t.Errorf("want %q, got %v", want, err)
		}
		select {
		case <-fake.closed:
		default:
			t.Error("want the socket closed, got it open")
		}
	})
}

func TestReceiveOutlivesErrorsThatPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeConn()
		c := startFake(t, fake)
		defer c.Close()
		go func() {
			for _, err := range []error{syscall.EHOSTUNREACH, syscall.ECONNREFUSED, syscall.ENOMEM, nil, syscall.EBADF} {
				fake.reads <- err
			}
		}()
		buf := make([]byte, 10)
		if n, err := c.Receive(buf); err != nil || string(buf[:n]) != "payload" {
			t.Errorf("want the payload behind three errors, got %q, %v", buf[:n], err)
		}
		_, err := c.Receive(buf)
		if want := "receive from 192.0.2.1:9000: bad file descriptor"; err == nil || err.Error() != want {
			t.Errorf("want %q, got %v", want, err)
		}
	})
}
