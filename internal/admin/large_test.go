package admin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Clients that do not read large answers cost a bounded amount of memory, and
// nobody a small answer.
func TestLargeAnswersAreBounded(t *testing.T) {
	mux := http.NewServeMux()
	newReader(&daemonOf{}).add(mux)
	stuck, until := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	for i := range mostLarge {
		slow.Go(func() {
			w := stuckWriter{httptest.NewRecorder(), stuck, until}
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, []string{"/api/v1/peers", "/api/v1/bans"}[i%2], nil))
		})
	}
	for range mostLarge {
		<-stuck
	}
	for _, path := range []string{"/api/v1/peers", "/api/v1/bans", "/metrics"} {
		code, body := get(t, mux, path)
		if want := fmt.Sprintf("want %d at most", mostLarge); code != http.StatusServiceUnavailable || !strings.Contains(body, want) {
			t.Errorf("%s: want 503 and %q, got %d: %s", path, want, code, body)
		}
	}
	for _, path := range []string{"/api/v1/status", "/api/v1/why?address=192.0.2.7", "/healthz"} {
		if code, body := get(t, mux, path); code != http.StatusOK {
			t.Errorf("%s: want 200 beside large answers, got %d: %s", path, code, body)
		}
	}
	close(until)
	slow.Wait()
	if code, body := get(t, mux, "/api/v1/peers"); code != http.StatusOK {
		t.Errorf("want a page when the others have gone, got %d: %s", code, body)
	}
}

// A client that does not read its answer does not hold up the stop of a daemon
// for as long as a request that changes something may.
func TestWhoDoesNotReadHoldsUpNoStop(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	writing := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(writing)
		for block := make([]byte, 1<<20); ; { // more than sockets hold
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	var log bytes.Buffer
	go func() {
		served <- serveHandler(ctx, listener, handler, nil, slog.New(slog.NewTextHandler(&log, nil)), 4*time.Second)
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-writing
	cancel()
	select {
	case err := <-served:
		if err != nil || strings.Contains(log.String(), "before a request is done") {
			t.Errorf("want an end in order, got %v, and in the log %q", err, &log)
		}
	case <-time.After(writeTimeout / 2): // well below what the write of the answer may take
		t.Error("want the stop not held up")
		conn.Close()
		<-served
	}
}
