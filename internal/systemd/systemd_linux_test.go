package systemd

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testwait"
)

// A manager is the receiving end of the protocol.
type manager struct{ *net.UnixConn }

func newManager(t *testing.T) manager {
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return manager{conn}
}

// next returns the next message and the descriptors that came with it.
func (m manager) next(t *testing.T) (string, []int) {
	t.Helper()
	m.SetReadDeadline(time.Now().Add(testwait.Patience))
	text, control := make([]byte, 4096), make([]byte, 4096)
	n, controls, _, _, err := m.ReadMsgUnix(text, control)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controls])
	if err != nil {
		t.Fatal(err)
	}
	var descriptors []int
	for i := range messages {
		rights, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			t.Fatal(err)
		}
		descriptors = append(descriptors, rights...)
	}
	return string(text[:n]), descriptors
}

func (m manager) want(t *testing.T, want string) {
	t.Helper()
	if got, _ := m.next(t); got != want {
		t.Errorf("want the message %q, got %q", want, got)
	}
}

func TestTheManagerIsToldInItsProtocol(t *testing.T) {
	m := newManager(t)
	for _, say := range []func() error{
		func() error { return Ready("two\nlines") }, func() error { return Status("3 peers") }, Alive, Stopping,
		func() error { return Unstore("socket") }, Reloading,
	} {
		if err := say(); err != nil {
			t.Fatal(err)
		}
	}
	m.want(t, "READY=1\nSTATUS=two lines")
	m.want(t, "STATUS=3 peers")
	m.want(t, "WATCHDOG=1")
	m.want(t, "STOPPING=1\nSTATUS=stopping")
	m.want(t, "FDSTOREREMOVE=1\nFDNAME=socket")
	got, _ := m.next(t)
	since, found := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	if _, err := strconv.ParseUint(since, 10, 64); !found || err != nil {
		t.Errorf("want the time of the reload, got %q", got)
	}
}

func TestAStoredSocketIsTheSameOne(t *testing.T) {
	m := newManager(t)
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	file, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := Store("relay", file); !stored || err != nil {
		t.Fatalf("want it stored, got %v, %v", stored, err)
	}
	file.Close()
	socket.Close()

	got, descriptors := m.next(t)
	if want := "FDSTORE=1\nFDNAME=relay\nFDPOLL=0"; got != want || len(descriptors) != 1 {
		t.Fatalf("want %q with one descriptor, got %q with %d", want, got, len(descriptors))
	}
	kept := os.NewFile(uintptr(descriptors[0]), "kept")
	defer kept.Close()
	again, err := net.FilePacketConn(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.LocalAddr().String() != socket.LocalAddr().String() {
		t.Errorf("want the socket of %v, got that of %v", socket.LocalAddr(), again.LocalAddr())
	}
}

func TestWithoutAManagerNothingIsSaidAndNothingFails(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready("relaying"); err != nil {
		t.Error(err)
	}
	if stored, err := Store("relay", os.Stderr); stored || err != nil {
		t.Errorf("want nothing stored and no error, got %v, %v", stored, err)
	}
	if interval, err := WatchdogInterval(); interval != 0 || err != nil {
		t.Errorf("want no watchdog, got %v, %v", interval, err)
	}
	if sockets := Sockets(); len(sockets) != 0 {
		t.Errorf("want no sockets, got %d", len(sockets))
	}
}

func TestAManagerThatIsGoneIsAnError(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	if err := Alive(); err == nil || !strings.HasPrefix(err.Error(), "tell the service manager: ") {
		t.Errorf("want an error that says whom, got %v", err)
	}
	if stored, err := Store("relay", os.Stderr); stored || err == nil {
		t.Errorf("want an error, got %v, %v", stored, err)
	}
}

// fill sends the manager messages, which it does not read, until no more fit.
func (m manager) fill(t *testing.T) (count int) {
	t.Helper()
	conn, err := net.DialUnix("unixgram", nil, m.LocalAddr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for ; err == nil; count++ {
			err = unix.Sendmsg(int(fd), []byte("X=fills"), nil, nil, unix.MSG_DONTWAIT)
		}
	})
	if err != unix.EAGAIN {
		t.Fatalf("want a queue that is full, got %v", err)
	}
	return count - 1
}

func TestAManagerThatDoesNotReadHoldsUpNobodyForLong(t *testing.T) {
	m := newManager(t)
	count := m.fill(t)
	said := []func() error{
		Alive, Stopping, Reloading,
		func() error { return Ready("relaying") }, func() error { return Status("3 peers") }, func() error { return Unstore("relay") },
		func() error { _, err := Store("relay", os.Stderr); return err },
	}
	failed := make(chan error, len(said))
	for _, say := range said {
		go func() { failed <- say() }()
	}
	patience := time.After(testwait.Patience)
	for range said {
		select {
		case err := <-failed:
			if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(err.Error(), "tell the service manager: ") {
				t.Errorf("want an error that says whom and that time is over, got %v", err)
			}
		case <-patience:
			t.Fatal("want an end of the wait for the manager, got none")
		}
	}
	for range count { // once it reads, it is told again
		m.want(t, "X=fills")
	}
	if err := Alive(); err != nil {
		t.Fatal(err)
	}
	m.want(t, "WATCHDOG=1")
}

// TestSocketsComeByName runs this test again as a manager runs a service: with
// descriptors from number 3 on.
func TestSocketsComeByName(t *testing.T) {
	if os.Getenv("LISTEN_FDNAMES") != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // a manager does this between fork and exec
		sockets := Sockets()
		if len(sockets) != 2 || sockets[0].Name() != "first" || sockets[1].Name() != "second" {
			t.Fatalf("want first and second, got %v", sockets)
		}
		for _, socket := range sockets {
			flags, err := unix.FcntlInt(socket.Fd(), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: want it closed in children, got flags %x, %v", socket.Name(), flags, err)
			}
		}
		if again := Sockets(); len(again) != 0 {
			t.Errorf("want them once, got %d more", len(again))
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self, "-test.run=^TestSocketsComeByName$", "-test.v")
	command.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=first:second")
	command.ExtraFiles = []*os.File{os.Stdin, os.Stdin}
	if output, err := command.CombinedOutput(); err != nil || !strings.Contains(string(output), "--- PASS") {
		t.Errorf("%v\n%s", err, output)
	}
}
