package filetransfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A countedListener counts what it accepts.
type countedListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// rounds is how often something is killed.
func rounds(n int) int {
	if testing.Short() {
		return n / 5
	}
	return n
}

// dice returns random numbers whose seed is told.
func dice(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// child starts the test binary as a sender or receiver.
func child(t *testing.T, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), environ...)
	return cmd
}

func senderEnviron(address string, checked bool) []string {
	environ := []string{asSender + "=" + address}
	if checked {
		environ = append(environ, asSender+"_CHECKED=1")
	}
	return environ
}

// A sender that is killed at any time leaves the whole file or nothing.
func TestKilledSenders(t *testing.T) {
	random := dice(t)
	content := noise(48 << 20)
	path := file(t, "x", content)
	r, err := NewReceiver(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := &place{Receiver: r, directory: r.in.root.Name(), ended: make(chan ending, 1000)}
	r.Pause, r.Ended = 20*time.Millisecond, func(got Received, err error) { p.ended <- ending{got, err} }
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &countedListener{Listener: inner}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, listener) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	ends := map[string]int{}
	var known int64 // endings
	for i := range rounds(60) {
		cmd := child(t, senderEnviron(inner.Addr().String(), i%2 == 1), path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // the random point
		_ = cmd.Process.Kill()                                         // it may have ended
		_ = cmd.Wait()
		// A connection that follows is accepted after that of the sender.
		last := dial(t, inner.Addr().String())
		say(t, last, "\n")
		hearAll(t, last)
		whole := false
		for told := false; !told || known < listener.accepted.Load(); known++ {
			e := p.next(t)
			switch broken := (*BrokenError)(nil); {
			case e.err == nil:
				ends["whole"]++
				whole = true
			case errors.As(e.err, &broken) && broken.After > 0:
				ends["in the middle"]++
			case errors.As(e.err, &broken):
				ends["before the bytes"]++
			default:
				told = true // the last one: an empty name
			}
		}
		if whole {
			p.wants(t, map[string][]byte{"x": content})
			if err := os.Remove(filepath.Join(p.directory, "x")); err != nil {
				t.Fatal(err)
			}
		} else {
			p.wants(t, nil)
		}
	}
	t.Logf("the ends: %v", ends)
}

// In the checked way a sender can be killed after any byte, though something
// between makes a good end of it.
func TestKilledBehindAProxy(t *testing.T) {
	random := dice(t)
	content := noise(5 << 20)
	path := file(t, "x", content)
	p := receiving(t, t.TempDir(), nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	first := hello{name: "x", line: true, checked: true, size: int64(len(content))}.String()
	most := len(first) + len(content) + hexSum // all but the last newline
	for i := range rounds(40) {
		after := random.IntN(most + 1)
		if i < 3 {
			after = most - i
		}
		cmd := child(t, senderEnviron(listener.Addr().String(), true), path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		from, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		to := dial(t, p.address)
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _ = io.Copy(from, to)
		}()
		if _, err := io.CopyN(to, from, int64(after)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		to.CloseWrite()
		if e := p.next(t); e.err == nil {
			t.Errorf("after %d of %d bytes: want it refused, got %+v", after, most+1, e)
		}
		to.Close()
		<-answered
		from.Close()
		p.wants(t, nil)
	}
}

// A receiver that is killed leaves no file under its name that is not whole,
// its sender knows, and the next receiver removes what is left.
func TestKilledReceivers(t *testing.T) {
	random := dice(t)
	content := noise(32 << 20)
	path := file(t, "x", content)
	left := 0
	for i := range rounds(30) {
		directory := t.TempDir()
		cmd := child(t, []string{asReceiver + "=" + directory})
		if i%2 == 1 {
			cmd.Env = append(cmd.Env, asReceiver+"_NAMED=1")
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		killing := time.AfterFunc(time.Duration(random.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		sender := Sender{Address: strings.TrimSpace(address)}
		sent, err := sender.Send(t.Context(), path, "")
		killing.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		entries, readErr := os.ReadDir(directory)
		if readErr != nil {
			t.Fatal(readErr)
		}
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), temporaryPrefix) {
				left++
			}
		}
		got, readErr := os.ReadFile(filepath.Join(directory, "x"))
		if readErr == nil && !bytes.Equal(got, content) {
			t.Errorf("there are %d bytes of %d", len(got), len(content))
		}
		if err == nil && (readErr != nil || !sent.Verified) {
			t.Errorf("want an error of the sender, as nothing is there; got %+v", sent)
		}
		r, err := NewReceiver(directory)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		want := map[string][]byte{}
		if readErr == nil {
			want["x"] = content
		}
		(&place{directory: directory}).wants(t, want)
	}
	t.Logf("%d hidden files were left and removed", left)
}

// What another receiver is writing now is not taken for something left.
func TestFilesThatAreComingStay(t *testing.T) {
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.in.nameless = false })
	c := dial(t, p.address)
	say(t, c, "x\n")
	hear(t, c, "ok\n")
	dead := filepath.Join(p.directory, temporaryName())
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := file(t, "outside", []byte("mine"))
	if err := os.Symlink(outside, filepath.Join(p.directory, temporaryName())); err != nil {
		t.Fatal(err)
	}
	other, err := NewReceiver(p.directory)
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	if _, err := os.Lstat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("want the left one removed, got %v", err)
	}
	say(t, c, "bytes")
	c.CloseWrite()
	if said := parseAnswer(hearAll(t, c)); !said.received {
		t.Errorf("want it received, got %+v", said)
	}
	if got, err := os.ReadFile(filepath.Join(p.directory, "x")); err != nil || string(got) != "bytes" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "mine" {
		t.Errorf("outside is %q, %v", got, err)
	}
}
