package clustertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A client is a UDP socket at the host of a daemon that keeps account of what it
// hears.
//
// What it says is numbered: "NAME NUMBER ", filler, and a checksum of four bytes.
// Other texts, without a blank, are for the test to see whether somebody hears
// somebody.
type client struct {
	name string
	conn *net.UDPConn
	to   *net.UDPAddr
	sent uint64 // numbered datagrams; only its speech changes it

	mu    sync.Mutex
	heard map[string]*account // by who said it
	texts map[string]int
	wrong []string // what must never come
}

// An account is what a client has heard of another's numbered datagrams.
type account struct {
	last    uint64 // the greatest number
	count   uint64
	missing uint64 // numbers before last that did not come
}

// mostWrong bounds what is told of a client.
const mostWrong = 5

// newClient opens a client of d, at an address of its host. It is no peer yet.
func newClient(t testing.TB, d *daemon, name, address string) *client {
	t.Helper()
	c := &client{name: name, to: d.address(t, strings.Contains(address, ":")), heard: make(map[string]*account), texts: make(map[string]int)}
	var err error
	listen := func() { c.conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)}) }
	if d.host == nil {
		listen()
	} else {
		d.host.Do(listen)
	}
	if err == nil {
		err = makeRoom(c.conn, 32<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); c.listen() }()
	t.Cleanup(func() {
		c.conn.Close()
		<-done
		for _, wrong := range c.wrong {
			t.Errorf("%s heard %s", c.name, wrong)
		}
	})
	return c
}

// makeRoom has so many bytes of received datagrams wait in the kernel at most,
// as far as it lets the test say so.
func makeRoom(conn *net.UDPConn, size int) error {
	if err := conn.SetReadBuffer(size); err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { // which only root may
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
	})
}

func (c *client) listen() {
	space := make([]byte, 1<<16)
	for {
		n, _, err := c.conn.ReadFromUDP(space)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil && !errors.Is(err, syscall.ECONNREFUSED):
			c.mu.Lock()
			c.accuse("the error %v", err)
			c.mu.Unlock()
			return
		case err == nil:
			c.hear(space[:n])
		}
	}
}

// hear takes what the relay sent.
func (c *client) hear(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, rest, numbered := bytes.Cut(payload, []byte(" "))
	if !numbered {
		c.texts[string(payload)]++
		return
	}
	number, _, _ := bytes.Cut(rest, []byte(" "))
	var n uint64
	if _, err := fmt.Sscan(string(number), &n); err != nil || !whole(payload) {
		c.accuse("a datagram that nobody has said: %.60q", payload)
		return
	}
	if string(name) == c.name {
		c.accuse("what it has said itself, number %d", n)
		return
	}
	a := c.heard[string(name)]
	if a == nil {
		a = new(account)
		c.heard[string(name)] = a
	}
	if n <= a.last {
		c.accuse("number %d of %s after %d", n, name, a.last)
		return
	}
	a.missing += n - a.last - 1
	a.last = n
	a.count++
}

// accuse notes what must never come. The mutex is held.
func (c *client) accuse(format string, args ...any) {
	if len(c.wrong) < mostWrong {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

const checksum = 4

func whole(payload []byte) bool {
	n := len(payload) - checksum
	return n > 0 && binary.BigEndian.Uint32(payload[n:]) == crc32.ChecksumIEEE(payload[:n])
}

// of returns what the client has heard of another.
func (c *client) of(other *client) account {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.heard[other.name]; a != nil {
		return *a
	}
	return account{}
}

// text returns how often the client has heard a text.
func (c *client) text(text string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.texts[text]
}

// say sends a text; an empty one joins.
func (c *client) say(t testing.TB, text string) {
	t.Helper()
	if err := c.write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func (c *client) write(payload []byte) error {
	_, err := c.conn.WriteToUDP(payload, c.to)
	return err
}

// A speech is how clients speak.
type speech struct {
	count  uint64        // of datagrams; 0: until it is ended
	window uint64        // that each listener may be behind; 0: any number
	every  time.Duration // at most one in this time; 0: as fast as the window lets it
	most   int           // bytes of a datagram; they have from 32 to so many
	hears  []*client     // the listeners that must hear everything
}

// A talk is clients that speak at once.
type talk struct {
	end   chan struct{} // closed to end it
	ended sync.WaitGroup
}

// speak has clients speak.
func (s speech) speak(t testing.TB, speakers ...*client) *talk {
	t.Helper()
	k := &talk{end: make(chan struct{})}
	for i, c := range speakers {
		k.ended.Go(func() {
			if err := c.speech(s, rand.New(rand.NewPCG(uint64(i), 0)), k.end); err != nil {
				t.Errorf("%s, at number %d: %v", c.name, c.sent, err)
			}
		})
	}
	t.Cleanup(k.stop)
	return k
}

// wait waits until the speakers have said as many as they were to.
func (k *talk) wait() { k.ended.Wait() }

// stop has the speakers end, and waits for them.
func (k *talk) stop() {
	select {
	case <-k.end:
	default:
		close(k.end)
	}
	k.ended.Wait()
}

// speech says what s asks for, until end is closed.
func (c *client) speech(s speech, random *rand.Rand, end <-chan struct{}) error {
	var tick <-chan time.Time
	if s.every > 0 {
		ticker := time.NewTicker(s.every)
		defer ticker.Stop()
		tick = ticker.C
	}
	listeners := without(s.hears, c)
	filler := make([]byte, s.most)
	for i := range filler {
		filler[i] = byte(random.Uint32())
	}
	for first := c.sent; s.count == 0 || c.sent-first < s.count; {
		if tick != nil {
			select {
			case <-tick:
			case <-end:
				return nil
			}
		}
		select {
		case <-end:
			return nil
		default:
		}
		c.sent++
		p := fmt.Appendf(make([]byte, 0, s.most), "%s %d ", c.name, c.sent)
		p = append(p, filler[:max(0, 32+random.IntN(s.most-31)-len(p)-checksum)]...)
		if err := c.write(binary.BigEndian.AppendUint32(p, crc32.ChecksumIEEE(p))); err != nil {
			return err
		}
		if s.window == 0 || c.sent <= s.window {
			continue
		}
		if err := c.heardBy(listeners, c.sent-s.window, 200*time.Microsecond); err != nil {
			return err
		}
	}
	return nil
}

// heardBy waits until the listeners have heard what c said up to a number.
func (c *client) heardBy(listeners []*client, number uint64, look time.Duration) error {
	for _, l := range listeners {
		for deadline := time.Now().Add(patience); l.of(c).last < number; time.Sleep(look) {
			if time.Now().After(deadline) {
				return fmt.Errorf("want %s to hear number %d; got %+v after %v", l.name, number, l.of(c), patience)
			}
		}
	}
	return nil
}

// wantHeard waits until each of the listeners has heard all that the speakers
// have said so far, and checks that nothing was missing.
func wantHeard(t testing.TB, speakers, listeners []*client) {
	t.Helper()
	for _, c := range speakers {
		listeners := without(listeners, c)
		if err := c.heardBy(listeners, c.sent, time.Millisecond); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, l := range listeners {
			if got := l.of(c); got != (account{last: c.sent, count: c.sent}) {
				t.Errorf("want %s to hear all %d of %s, each once; got %+v", l.name, c.sent, c.name, got)
			}
		}
	}
}

// probes numbers what awaitHeardBy has said.
var probes atomic.Uint64

// awaitHeardBy waits until each of the speakers is heard by each of the others.
// What is said from then on must come.
func awaitHeardBy(t testing.TB, speakers, listeners []*client) {
	t.Helper()
	serial, round := probes.Add(1), 0
	await(t, func() bool {
		again := round%100 == 0 // each 100 ms
		round++
		all := true
		for _, c := range speakers {
			text := fmt.Sprintf("is-anybody-there?%s,%d", c.name, serial)
			if slices.ContainsFunc(without(listeners, c), func(l *client) bool { return l.text(text) == 0 }) {
				all = false
				if again {
					c.say(t, text)
				}
			}
		}
		return all
	}, "%d clients to hear %d", len(listeners), len(speakers))
}

// awaitPassing waits until each of the listeners has heard something new of each
// of the speakers, who must be speaking.
func awaitPassing(t testing.TB, speakers, listeners []*client) {
	t.Helper()
	for _, c := range speakers {
		for _, l := range listeners {
			if before := l.of(c).last; l != c {
				await(t, func() bool { return l.of(c).last > before }, "%s to hear more of %s than number %d", l.name, c.name, before)
			}
		}
	}
}

// missing returns how many of what the speakers have said did not come to the
// listeners, as far as they can know, each counted on its own.
func missing(speakers, listeners []*client) (total uint64) {
	for _, c := range speakers {
		for _, l := range listeners {
			if l != c {
				total += l.of(c).missing
			}
		}
	}
	return total
}
