package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// Who opens connections and says nothing leaves descriptors for others, and
// places as soon as one of them goes.
func TestConnectionsAreBounded(t *testing.T) {
	client, _ := serving(t, &control{})
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("unix", client.Socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var idle []net.Conn
	for range mostConnections {
		idle = append(idle, dial())
	}
	one := dial()
	one.SetReadDeadline(time.Now().Add(testwait.Patience))
	if n, err := one.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("want the one that is too many closed; got %d bytes, %v", n, err)
	}
	idle[0].Close()
	for deadline := time.Now().Add(testwait.Patience); ; time.Sleep(time.Millisecond) {
		if _, err := client.Status(t.Context()); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("want an answer when one has gone; got %v", err)
		}
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
