package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// window is how many datagrams are under way to the relay at most. Its receive
// buffer holds as many.
const window = 4000

// Voices are a socket that speaks from many addresses of loopback, as if each
// were a peer of its own. What is sent to them is not received.
type voices struct {
	conn     *ipv4.PacketConn
	messages []ipv4.Message // one for each
	at       int
}

func newVoices(to netip.AddrPort, count int) (*voices, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	v := &voices{conn: ipv4.NewPacketConn(conn)}
	for i := range count {
		i += 1<<16 + 2 // none that others use
		from := netip.AddrFrom4([4]byte{127, byte(i >> 16), byte(i >> 8), byte(i)})
		control := (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()
		v.messages = append(v.messages, ipv4.Message{Buffers: [][]byte{nil}, OOB: control, Addr: net.UDPAddrFromAddrPort(to)})
	}
	return v, nil
}

func (v *voices) close() { v.conn.Close() }

// next has the next count say payload, in turn.
func (v *voices) next(count int, payload []byte) error {
	const atOnce = 256
	for count > 0 {
		some := v.messages[v.at:min(v.at+min(count, atOnce), len(v.messages))]
		for i := range some {
			some[i].Buffers[0] = payload
		}
		n, err := v.conn.WriteBatch(some, 0)
		if err != nil {
			return err
		}
		v.at, count = (v.at+n)%len(v.messages), count-n
	}
	return nil
}

// all has each say payload once, no more than a window at a time.
func (v *voices) all(ctx context.Context, relay *child, payload []byte) error {
	v.at = 0
	for left := len(v.messages); left > 0; left -= window {
		if err := v.next(min(left, window), payload); err != nil {
			return err
		}
		if err := relay.awaitEmpty(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitEmpty waits until nothing waits in the relay's receive queue.
func (c *child) awaitEmpty(ctx context.Context) error {
	for deadline := time.Now().Add(sizePatience); ; time.Sleep(50 * time.Microsecond) {
		waiting, err := waitingAt(c.addr.Port())
		switch {
		case err == nil && waiting == 0:
			return nil
		case err != nil && !errors.Is(err, errNoSocket):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case c.ended():
			return fmt.Errorf("the relay has ended; it said: %s", c.said)
		case time.Now().After(deadline) && err != nil:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("%d bytes wait in the receive queue of the relay, and do not get fewer", waiting)
		}
	}
}

// errNoSocket: a relay that runs may still have one, since the kernel's table can
// lack a line when it is read while other sockets come and go.
var errNoSocket = errors.New("the socket of the relay is gone")

// waitingAt returns how many bytes wait to be received at a port.
func waitingAt(port uint16) (waiting uint64, err error) {
	sockets, err := socketsAt(port)
	if err != nil {
		return 0, err
	}
	if len(sockets) == 0 {
		return 0, errNoSocket
	}
	for _, fields := range sockets {
		_, queue, _ := strings.Cut(fields[4], ":")
		n, err := strconv.ParseUint(queue, 16, 64)
		if err != nil {
			return 0, fmt.Errorf("receive queue %q: %w", queue, err)
		}
		waiting += n
	}
	return waiting, nil
}

// pause stops the relay, and returns when all its threads stand still.
func (c *child) pause(ctx context.Context) error {
	if err := c.process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(sizePatience); ; time.Sleep(50 * time.Microsecond) {
		still, err := c.stopped()
		switch {
		case err != nil || still:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return errors.New("the relay does not stop for a SIGSTOP")
		}
	}
}

func (c *child) resume() { _ = c.process.Signal(syscall.SIGCONT) }

// stopped reports whether no thread of the relay runs.
func (c *child) stopped() (bool, error) {
	directory := fmt.Sprintf("/proc/%d/task", c.pid)
	tasks, err := os.ReadDir(directory)
	if err != nil {
		return false, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(directory + "/" + task.Name() + "/stat")
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return false, err
		}
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
		if !strings.HasPrefix(rest, "T") {
			return false, nil
		}
	}
	return true, nil
}
