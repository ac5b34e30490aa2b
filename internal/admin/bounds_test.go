package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// crowd opens so many connections that ask for nothing.
func crowd(t *testing.T, network, address string, count int) (conns []net.Conn) {
	t.Helper()
	for range count {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n") // not whole
		conns = append(conns, conn)
	}
	return conns
}

// awaitClosed waits until so many of conns have been closed, and wants no more
// than most.
func awaitClosed(t *testing.T, conns []net.Conn, want, most int) {
	t.Helper()
	closed := 0
	testwait.Until(t, func() bool {
		conns = slices.DeleteFunc(conns, func(conn net.Conn) bool {
			conn.SetReadDeadline(time.Now().Add(time.Microsecond))
			_, err := conn.Read(make([]byte, 1))
			gone := !errors.Is(err, os.ErrDeadlineExceeded)
			if gone {
				closed++
			}
			return gone
		})
		return closed >= want
	}, fmt.Sprintf("want %d connections closed", want))
	if closed > most {
		t.Errorf("want %d connections closed at most; got %d", most, closed)
	}
}

// Who opens connections and says nothing leaves descriptors for others, and
// places for those that ask.
func TestConnectionsAreBounded(t *testing.T) {
	client, _ := serving(t, &control{})
	idle := crowd(t, "unix", client.Socket, mostPerUser+1) // all of the user of this process
	awaitClosed(t, idle, 1, 1)
	for range 10 {
		if _, err := client.Status(t.Context()); err != nil {
			t.Fatalf("want an answer beside those that ask nothing; got %v", err)
		}
	}
}

// A probe is answered whatever others do, or a relay that is alive would be killed.
func TestProbesAreAlwaysAnswered(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	newReader(&daemonOf{status: Status{Ready: true}}).add(mux)
	begun, leave := make(chan struct{}), make(chan struct{})
	mux.HandleFunc("GET /long", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		begun <- struct{}{}
		<-leave
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serveHandler(ctx, listener, onlyFor("", mux), nil, slog.New(slog.DiscardHandler), testwait.Patience)
	}()
	address := listener.Addr().String()
	get := func(path string) int {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "relay.example" // as in a cluster, where each has a name
		if path != "/healthz" && path != "/readyz" {
			request.Host = "localhost"
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Errorf("%s: want an answer; got %v", path, err)
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	wantAlive := func() {
		t.Helper()
		for _, path := range []string{"/healthz", "/readyz"} {
			if code := get(path); code != http.StatusOK {
				t.Errorf("%s: want 200; got %d", path, code)
			}
		}
	}
	wantAlive()

	idle := crowd(t, "tcp", address, mostConnections+8)
	wantAlive()
	if code := get("/api/v1/status"); code != http.StatusOK {
		t.Errorf("want the status beside those that ask nothing; got %d", code)
	}
	awaitClosed(t, idle, 8+1, 8+5) // what was answered leaves its place for the next, as soon as it is seen to be closed

	// Requests that last are not ended for others.
	var lasting []net.Conn
	for range mostConnections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-begun
		lasting = append(lasting, conn)
	}
	crowd(t, "tcp", address, 2*mostTold)
	wantAlive()
	if code := get("/api/v1/status"); code != http.StatusServiceUnavailable {
		t.Errorf("want 503 for one too many; got %d", code)
	}
	close(leave)
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if len(lasting) != mostConnections {
		t.Errorf("want %d requests that last; got %d", mostConnections, len(lasting))
	}
}

// A part of a query that cannot be understood is not passed over.
func TestMalformedQueriesAreRefused(t *testing.T) {
	client, _ := serving(t, &control{})
	for path, want := range map[string]string{
		"/api/v1/peers?limit=1;sort=zz":     "invalid semicolon separator",
		"/api/v1/status?%zz":                "invalid URL escape",
		"/api/v1/why?address=A&address=B":   "it stands there twice",
		"/api/v1/tap?peer=192.0.2.7;snap=1": "invalid semicolon separator",
	} {
		response, err := client.send(t.Context(), http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), want) {
			t.Errorf("%s: want 400 with %q, got %d, %v: %s", path, want, response.StatusCode, err, body)
		}
	}
}

// HEAD ends also for what does not.
func TestHeadOfStreamsEnds(t *testing.T) {
	client, _ := serving(t, &control{})
	for path, want := range map[string]string{"/api/v1/events": "text/event-stream", "/api/v1/tap": "application/x-pcapng"} {
		ctx, cancel := context.WithTimeout(t.Context(), testwait.Patience)
		response, err := client.send(ctx, http.MethodHead, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != want {
			t.Errorf("HEAD %s: want 200 and %s, got %d, %s, %v", path, want, response.StatusCode, response.Header.Get("Content-Type"), err)
		}
		response.Body.Close()
		cancel()
	}
}

// A tapped is a daemon whose recordings last until it is left.
type tapped struct {
	control
	begun, leave chan struct{}
}

func (d *tapped) Tap(context.Context, Tap, io.Writer) error {
	d.begun <- struct{}{}
	<-d.leave
	return nil
}

func TestRecordingsAreBounded(t *testing.T) {
	d := &tapped{begun: make(chan struct{}, mostTaps), leave: make(chan struct{})}
	client, _ := serving(t, d)
	ended := make(chan error, mostTaps)
	for range mostTaps {
		go func() {
			recording, err := client.Tap(t.Context(), Tap{})
			if err == nil {
				recording.Close()
			}
			ended <- err
		}()
	}
	for range mostTaps {
		<-d.begun
	}
	_, err := client.Tap(t.Context(), Tap{})
	if err == nil || !strings.Contains(err.Error(), "16 recordings are made already; want 16 at most") {
		t.Errorf("want one too many refused, got %v", err)
	}
	close(d.leave)
	for range mostTaps {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
