package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// asking returns a client of handler, which serves a socket of its own until
// the test ends.
func asking(t *testing.T, handler http.Handler) Client {
	t.Helper()
	name := socketName(t)
	listener, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- serveHandler(ctx, listener, handler, nil, slog.New(slog.DiscardHandler), time.Millisecond)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return Client{Socket: name}
}

func TestAClientGetsTheStatus(t *testing.T) {
	d := &daemonOf{status: Status{
		Version: "1.2.3", Started: Time{time.Date(2026, 11, 22, 12, 0, 0, 5e6, time.UTC)}, Uptime: Seconds{1500 * time.Millisecond}, Listen: "[::]:9000",
		Drops: map[string]uint64{"rule": 1<<64 - 1}, Rules: []Rule{{From: "any"}, {}}, Rates: Rates{Received: 1e-9},
	}}
	_, handler := reading(d)
	got, err := asking(t, handler).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := d.status
	want.Counters.Received = 1
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAClientGetsThePeersThatItAsksFor(t *testing.T) {
	all := somePeers(250)
	_, handler := reading(&daemonOf{peers: all})
	client := asking(t, handler)
	for _, q := range []Query{
		{},
		{Limit: 7, Offset: 240},
		{Sort: "address", Descending: true, Limit: 3},
		{Search: "192.0.2.1", Kind: "learned", State: "ok", Limit: 1000},
		{Search: "a&b=c d#\n%"},
	} {
		got, err := client.Peers(t.Context(), q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if q.Limit == 0 {
			q.Limit = 100
		}
		if diff := cmp.Diff(q.Select(append([]*Peer(nil), all...)), got, cmpopts.EquateComparable(Peer{}.Address), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", q, diff)
		}
	}
	for _, q := range []Query{{Limit: 1001}, {Sort: "x"}, {State: "x"}, {Kind: "x"}, {Search: strings.Repeat("x", 257)}} {
		_, err := client.Peers(t.Context(), q)
		if failure := (*Failure)(nil); !errors.As(err, &failure) || failure.Code != 64 {
			t.Errorf("%+v: want a failure with code 64, got %v", q, err)
		}
	}
}

func TestAClientSaysWhyThereIsNoAnswer(t *testing.T) {
	hangs := asking(t, http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() }))
	half := asking(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("{"))
	}))
	ends := asking(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	strange := asking(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	older := asking(t, http.NotFoundHandler())
	for name, test := range map[string]struct {
		client Client
		want   string
	}{
		"hangs":   {hangs, "it took too long to answer"},
		"half":    {half, "it ended before it answered"},
		"ends":    {ends, "it ended before it answered"},
		"strange": {strange, "an answer that cannot be read: invalid character 'h' looking for beginning of value"},
		"older":   {older, "what is there answers GET /api/v1/status with 404 Not Found; is it a relay of another version?"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if name == "hangs" {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
		}
		_, err := test.client.Status(ctx)
		cancel()
		if gone := (*Unreachable)(nil); !errors.As(err, &gone) || gone.Err.Error() != test.want || gone.ExitCode() != 69 {
			t.Errorf("%s: want %q, got %v", name, test.want, err)
		}
	}
	listener, err := net.Listen("unix", socketName(t))
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	if _, err := (Client{Socket: listener.Addr().String()}).Status(t.Context()); !Absent(err) {
		t.Errorf("want nobody there, got %v", err)
	}
}
