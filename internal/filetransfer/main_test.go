package filetransfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udprelay/internal/testwait"
)

// asSender in the environment makes the test binary a sender of its last
// argument to ADDRESS, one that can be killed.
const asSender = "UDPRELAY_TEST_SENDER"

// asReceiver makes it a receiver into that directory, which says where.
const asReceiver = "UDPRELAY_TEST_RECEIVER"

func receiveForever(directory string) error {
	r, err := NewReceiver(directory)
	if err != nil {
		return err
	}
	if os.Getenv(asReceiver+"_NAMED") != "" {
		r.in.nameless = false
	}
	r.Pause = 50 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return r.Serve(context.Background(), listener)
}

func TestMain(m *testing.M) {
	if address := os.Getenv(asSender); address != "" {
		sender := Sender{Address: address, Checked: os.Getenv(asSender+"_CHECKED") != ""}
		if _, err := sender.Send(context.Background(), os.Args[len(os.Args)-1], ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if directory := os.Getenv(asReceiver); directory != "" {
		fmt.Fprintln(os.Stderr, receiveForever(directory))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// An ending is how a transfer ended at the receiver.
type ending struct {
	Received
	err error
}

// A place is a receiver that runs.
type place struct {
	*Receiver
	directory, address string
	ended              chan ending
	stop               func()
}

// receiving starts a receiver, which prepare may change before.
func receiving(t testing.TB, directory string, prepare func(*Receiver)) *place {
	t.Helper()
	r, err := NewReceiver(directory)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{Receiver: r, directory: directory, ended: make(chan ending, 1000)}
	r.Pause = 50 * time.Millisecond
	r.Ended = func(got Received, err error) { p.ended <- ending{got, err} }
	if prepare != nil {
		prepare(r)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, listener) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		r.Close()
	})
	t.Cleanup(p.stop)
	return p
}

// next returns how the next transfer ended.
func (p *place) next(t testing.TB) ending {
	t.Helper()
	select {
	case e := <-p.ended:
		return e
	case <-time.After(testwait.Patience):
		t.Fatal("no transfer ended")
		panic("unreachable")
	}
}

// wants makes sure that the directory has these files and nothing else.
func (p *place) wants(t testing.TB, want map[string][]byte) {
	t.Helper()
	entries, err := os.ReadDir(p.directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, known := want[entry.Name()]
		if !known {
			t.Errorf("there is %q, which nobody sent whole", entry.Name())
			continue
		}
		if got, err := os.ReadFile(filepath.Join(p.directory, entry.Name())); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%q: want %d bytes, got %d, %v", entry.Name(), len(content), len(got), err)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("want %d files, got %v", len(want), entries)
	}
}

// file makes a file to send.
func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noise is size bytes that no block has twice.
func noise(size int) []byte {
	content := make([]byte, 0, size+32)
	for sum := sha256.Sum256(nil); len(content) < size; sum = sha256.Sum256(sum[:]) {
		content = append(content, sum[:]...)
	}
	return content[:size]
}

// dial connects to a receiver, as a plain sender.
func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(testwait.Patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// as returns err as an E, or fails.
func as[E error](t testing.TB, err error) E {
	t.Helper()
	var e E
	if !errors.As(err, &e) {
		t.Fatalf("want a %T, got %T: %v", e, err, err)
	}
	return e
}
