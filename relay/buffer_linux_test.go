package relay

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// systemLimit reads one of the sysctls that bound the buffers, in bytes.
func systemLimit(t testing.TB, name string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if os.IsNotExist(err) { // older kernels show it outside of network namespaces only
		testneed.True(t, false, "%s", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

// buffersOf returns the sizes of the buffers of r, in the double bytes that the
// kernel counts.
func buffersOf(t testing.TB, r *Relay) (receive, send int) {
	t.Helper()
	r.socket.(*linuxSocket).raw.Control(func(fd uintptr) {
		receive, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		send, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	return receive, send
}

// logged returns options that log to the buffer, without times.
func logged(options Options) (Options, *bytes.Buffer) {
	var log bytes.Buffer
	options.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	return options, &log
}

func TestBuffersGoBeyondTheSystemsLimitWherePrivilegeAllows(t *testing.T) {
	testneed.Root(t)
	options := defaults()
	options.ReceiveBuffer = 2 * systemLimit(t, "net.core.rmem_max")
	options.SendBuffer = 2 * systemLimit(t, "net.core.wmem_max")
	options, log := logged(options)
	r := makeRelay(t, ways[0], on4, options)
	receive, send := buffersOf(t, r)
	if receive != 2*options.ReceiveBuffer || send != 2*options.SendBuffer {
		t.Errorf("want buffers of %d and %d bytes; got %d and %d", options.ReceiveBuffer, options.SendBuffer, receive/2, send/2)
	}
	if log.Len() != 0 {
		t.Errorf("want no warning; got %s", log)
	}
}

func TestBuffersThatTheSystemCutsAreToldWithTheRemedy(t *testing.T) {
	testneed.Root(t)
	rmem, wmem := systemLimit(t, "net.core.rmem_max"), systemLimit(t, "net.core.wmem_max")
	options := defaults()
	options.ReceiveBuffer, options.SendBuffer = 2*rmem, 2*wmem
	options, log := logged(options)
	var r *Relay
	withoutNetAdmin(t, func() { r = makeRelay(t, ways[0], on4, options) })
	receive, send := buffersOf(t, r)
	if receive != 2*rmem || send != 2*wmem {
		t.Errorf("want buffers of %d and %d bytes; got %d and %d", rmem, wmem, receive/2, send/2)
	}
	want := fmt.Sprintf(`level=WARN msg="the receive buffer is %s, not %s: the system allows no more" hint="sysctl -w net.core.rmem_max=%d"
level=WARN msg="the send buffer is %s, not %s: the system allows no more" hint="sysctl -w net.core.wmem_max=%d"
`, sizeText(rmem), sizeText(2*rmem), 2*rmem, sizeText(wmem), sizeText(2*wmem), 2*wmem)
	if log.String() != want {
		t.Errorf("want\n%sgot\n%s", want, log)
	}
}

func TestBuffersWithinTheSystemsLimitNeedNoPrivilege(t *testing.T) {
	testneed.Root(t)
	options := defaults()
	options.ReceiveBuffer, options.SendBuffer = systemLimit(t, "net.core.rmem_max"), systemLimit(t, "net.core.wmem_max")
	options, log := logged(options)
	withoutNetAdmin(t, func() { makeRelay(t, ways[0], on4, options) })
	if log.Len() != 0 {
		t.Errorf("want no warning; got %s", log)
	}
}

// A socket unit of systemd comes with buffers that this process could not have.
func TestLargerBuffersThatSomebodyElseHasSetStay(t *testing.T) {
	testneed.Root(t)
	rmem, wmem := systemLimit(t, "net.core.rmem_max"), systemLimit(t, "net.core.wmem_max")
	for _, more := range []int{2, 3} {
		conn := listen(t, on4)
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, more*rmem),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, more*wmem))
		})
		if err != nil {
			t.Fatal(err)
		}
		options := defaults()
		options.ReceiveBuffer, options.SendBuffer = 2*rmem, 2*wmem
		options, log := logged(options)
		withoutNetAdmin(t, func() {
			r, err := New(conn, options)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.socket.close()
			if receive, send := buffersOf(t, r); receive != 2*more*rmem || send != 2*more*wmem {
				t.Errorf("want buffers of %d and %d bytes; got %d and %d", more*rmem, more*wmem, receive/2, send/2)
			}
			options.ReceiveBuffer, options.SendBuffer = rmem, wmem
			r.Apply(options)
			if receive, send := buffersOf(t, r); receive != 2*rmem || send != 2*wmem {
				t.Errorf("want buffers of %d and %d bytes where that is allowed; got %d and %d", rmem, wmem, receive/2, send/2)
			}
		})
		if log.Len() != 0 {
			t.Errorf("want no warning; got %s", log)
		}
	}
}

func TestBufferSizeZeroLeavesTheSystemsDefault(t *testing.T) {
	options := defaults()
	options.ReceiveBuffer, options.SendBuffer = 0, 0
	receive, send := buffersOf(t, makeRelay(t, ways[0], on4, options))
	wantReceive, wantSend := systemLimit(t, "net.core.rmem_default"), systemLimit(t, "net.core.wmem_default")
	if receive != wantReceive || send != wantSend {
		t.Errorf("want buffers of %d and %d bytes; got %d and %d", wantReceive, wantSend, receive, send)
	}
}

// withoutNetAdmin runs f in a thread that lacks CAP_NET_ADMIN and ends with it.
func withoutNetAdmin(t testing.TB, f func()) {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		if err == nil {
			data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
			err = unix.Capset(&header, &data[0])
		}
		if err == nil {
			f()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatalf("give up CAP_NET_ADMIN: %v", err)
	}
}

func TestSizeTextIsThatOfTheConfiguration(t *testing.T) {
	for _, test := range []struct {
		bytes int
		want  string
	}{
		{0, "0B"}, {1, "1B"}, {1000, "1000B"}, {1024, "1KiB"}, {1025, "1025B"}, {212992, "208KiB"},
		{8 << 20, "8MiB"}, {8<<20 + 1024, "8193KiB"}, {1 << 30, "1GiB"}, {3 << 29, "1536MiB"},
	} {
		if got := sizeText(test.bytes); got != test.want {
			t.Errorf("want %s for %d bytes; got %s", test.want, test.bytes, got)
		}
	}
}

func TestKernelsThatCorruptTrainsGetNone(t *testing.T) {
	for release, want := range map[string]bool{
		"6.18.44-fc-v657": false, "6.18": false, "6.99.0": false, "5.10.0-30-amd64": false, "4.18.0": false,
		"7.0": true, "7.0.0": true, "7.0.3": true, "7.0.99-1-generic": true, "7.0-rc1": true,
		"7.1": true, "7.1-rc3": true, "7.1.0": true, "7.1.3-arch1": true, "7.1.4": true, "7.1.4-200.fc46.x86_64": true,
		"7.1.5": false, "7.1.10": false, "7.1.50-1": false, "7.2": false, "7.2.0-rc1": false, "7.10.1": false, "70.0.1": false, "8.0.0": false,
		"": false, "7": false, "seven": false, "v7.0.1": false, "x.y.z": false, "-7.0": false,
	} {
		if got := corruptsTrains(release); got != want {
			t.Errorf("want Linux %q to corrupt trains: %t; got %t", release, want, got)
		}
	}
}

func TestWaySaysHowDatagramsLeave(t *testing.T) {
	for name, want := range map[string]string{
		"trains": "sendmmsg, in trains of up to 64 datagrams (UDP_SEGMENT)",
		"lone":   "sendmmsg, without trains: they are switched off",
		"plain":  "a system call for each datagram (trains are there on Linux only)",
	} {
		for _, w := range ways {
			if w.name != name {
				continue
			}
			r := makeRelay(t, w, on4, defaults())
			if s, ok := r.socket.(*linuxSocket); ok && name == "trains" && s.noTrains != "" {
				want = "sendmmsg, without trains: " + s.noTrains // this kernel has none that can be used
			}
			if got := r.Way(); got != want {
				t.Errorf("want %q; got %q", want, got)
			}
		}
	}
}

func TestNewFailsOnAClosedSocket(t *testing.T) {
	conn := listen(t, on4)
	conn.Close()
	if r, err := New(conn, defaults()); err == nil {
		r.socket.close()
		t.Error("want an error; got none")
	}
}
