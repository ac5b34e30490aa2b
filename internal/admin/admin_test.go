package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"udprelay/internal/testwait"
)

// A daemon that is reloaded answers with what it holds.
type control struct {
	reloaded Reloaded
	err      error
	asked    []string      // who is to be kicked, banned and unbanned
	entered  chan struct{} // nil: nobody waits for the reload to begin
	leave    chan struct{}
}

func (c *control) Reload() (Reloaded, error) {
	if c.entered != nil {
		close(c.entered)
		<-c.leave
	}
	return c.reloaded, c.err
}

func (c *control) Tap(_ context.Context, wish Tap, w io.Writer) error {
	if c.err != nil {
		return c.err
	}
	_, err := fmt.Fprintf(w, "%v %d", wish.Peers, wish.SnapLen)
	return err
}

func (c *control) Kick(from netip.Prefix, port uint16) (Kicked, error) {
	c.asked = append(c.asked, fmt.Sprintf("kick %v port %d", from, port))
	return Kicked{Removed: []netip.AddrPort{netip.AddrPortFrom(from.Addr(), max(port, 1))}, Count: 1}, c.err
}

func (c *control) Ban(_ context.Context, wish BanWish) (Banned, error) {
	c.asked = append(c.asked, fmt.Sprintf("ban %v for %v%s: %s", wish.From, wish.Duration, everywhere(wish.Cluster), wish.Reason))
	return Banned{Ban: banOf(wish.From, wish.Duration, wish.Reason), Removed: 3, Static: 1, Kept: true, Reached: reachedIf(wish.Cluster)}, c.err
}

func (c *control) Unban(_ context.Context, from netip.Prefix, cluster bool) (Unbanned, error) {
	c.asked = append(c.asked, fmt.Sprintf("unban %v%s", from, everywhere(cluster)))
	return Unbanned{Ban: banOf(from, 0, ""), Reached: reachedIf(cluster)}, c.err
}

func everywhere(cluster bool) string {
	if cluster {
		return " everywhere"
	}
	return ""
}

// reachedIf says who has what was done, if it was for all nodes.
func reachedIf(cluster bool) (r Reached) {
	if cluster {
		r.Nodes = []string{"north", "south"}
	}
	return r
}

func TestATapIsStreamed(t *testing.T) {
	client, _ := serving(t, &control{})
	recording, err := client.Tap(t.Context(), Tap{Peers: []string{"192.0.2.7", "[2001:db8::7]:9"}, SnapLen: 128})
	if err != nil {
		t.Fatal(err)
	}
	defer recording.Close()
	if text, err := io.ReadAll(recording); string(text) != "[192.0.2.7 [2001:db8::7]:9] 128" || err != nil {
		t.Errorf("want the wish to arrive, got %q, %v", text, err)
	}
}

func TestATapThatCannotBeIsAFailure(t *testing.T) {
	client, _ := serving(t, &control{err: errors.New("no such peer")})
	_, err := client.Tap(t.Context(), Tap{})
	var failure *Failure
	if !errors.As(err, &failure) || failure.Code != 64 || failure.Message != "no such peer" {
		t.Errorf("want the failure, got %v", err)
	}
	if _, err := client.Tap(t.Context(), Tap{SnapLen: 1 << 17}); err == nil || err.Error() != `snaplen is "131072"; want a number from 0 to 65536` {
		t.Errorf("want what is wrong, got %v", err)
	}
}

// serving serves control at a socket of its own until the test, or stop, ends
// it.
func serving(t *testing.T, c Control) (client Client, stop func()) {
	t.Helper()
	return servingWithin(t, c, testwait.Patience)
}

// servingWithin is serving with another time for requests under way at the stop.
func servingWithin(t *testing.T, c Control, finish time.Duration) (client Client, stop func()) {
	t.Helper()
	name := socketName(t)
	listener, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, listener, &daemonOf{}, c, slog.New(slog.DiscardHandler), finish)
	}()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return Client{Socket: name}, stop
}

// socketName returns a name that is short enough for a socket.
func socketName(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	return filepath.Join(directory, "control.sock")
}

func TestAReloadSaysWhatItChanged(t *testing.T) {
	want := Reloaded{Changed: []string{"peers.max"}, Restart: []string{"listen"}, Forgotten: 3, Warnings: []string{"one", "two"}}
	client, _ := serving(t, &control{reloaded: want})
	got, err := client.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFailureArrivesWithItsCodeAndHint(t *testing.T) {
	want := &Failure{Message: "room.yaml:2:1: lisen: unknown key\nroom.yaml:3:1: x: unknown key", Way: "udprelay check room.yaml", Code: 78}
	client, _ := serving(t, &control{err: want})
	_, err := client.Reload(t.Context())
	var got *Failure
	if !errors.As(err, &got) {
		t.Fatalf("want a failure, got %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnErrorWithoutACodeExitsWith1(t *testing.T) {
	client, _ := serving(t, &control{err: errors.New("no luck")})
	_, err := client.Reload(t.Context())
	var got *Failure
	if !errors.As(err, &got) || got.Code != 1 || got.Message != "no luck" || got.Way != "" {
		t.Errorf("want a failure with code 1, got %#v", err)
	}
}

func TestOnlyTheOwnerMayOpenTheSocket(t *testing.T) {
	client, stop := serving(t, &control{})
	info, err := os.Stat(client.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode != fs.ModeSocket|0o600 {
		t.Errorf("want a socket of mode 0600, got %v", mode)
	}
	stop()
	if _, err := os.Stat(client.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("want the socket removed at the end, got %v", err)
	}
}

func TestASocketThatWasLeftBehindIsReplaced(t *testing.T) {
	name := socketName(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as a process that is killed
	dead.Close()
	listener, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
}

func TestASocketInUseIsLeftAlone(t *testing.T) {
	client, _ := serving(t, &control{})
	if _, err := Listen(client.Socket); !errors.Is(err, ErrInUse) {
		t.Errorf("want %v, got %v", ErrInUse, err)
	}
	if _, err := client.Reload(t.Context()); err != nil {
		t.Errorf("want the first one to go on, got %v", err)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	name := socketName(t)
	if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(name); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("want an error that says so, got %v", err)
	}
	if content, err := os.ReadFile(name); string(content) != "precious" {
		t.Errorf("want the file as it was, got %q, %v", content, err)
	}
}

func TestNoDaemonIsAnErrorWithAHint(t *testing.T) {
	name := socketName(t)
	_, err := Client{Socket: name}.Reload(t.Context())
	var unreachable *Unreachable
	if !errors.As(err, &unreachable) || unreachable.ExitCode() != 69 || !strings.HasPrefix(unreachable.Hint(), "is the relay running?") {
		t.Errorf("want an unreachable relay with a hint, got %v", err)
	}
	if want := "no relay answers at the control socket " + name + ": no such file or directory"; err.Error() != want {
		t.Errorf("want %q, got %q", want, err)
	}
}

func TestAnotherProgramBehindTheSocketIsNamed(t *testing.T) {
	name := socketName(t)
	listener, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	other := &http.Server{Handler: http.NotFoundHandler()}
	go other.Serve(listener)
	defer other.Close()
	_, err = Client{Socket: name}.Reload(t.Context())
	var unreachable *Unreachable
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("want an error with its answer, got %v", err)
	}
}

func TestOnlyPostReloads(t *testing.T) {
	client, _ := serving(t, &control{})
	conn, err := net.Dial("unix", client.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /api/v1/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("want 405, got %s", response.Status)
	}
}
