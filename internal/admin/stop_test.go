package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

func TestAStopLetsWhatIsBeingDoneFinish(t *testing.T) {
	c := &control{reloaded: Reloaded{Forgotten: 7}, entered: make(chan struct{}), leave: make(chan struct{})}
	client, stop := serving(t, c)
	answer := make(chan Reloaded)
	go func() {
		reloaded, err := client.Reload(context.Background())
		if err != nil {
			t.Errorf("reload: %v", err)
		}
		answer <- reloaded
	}()
	<-c.entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	// The listener is closed first, so that nothing new begins.
	testwait.Until(t, func() bool {
		conn, err := net.Dial("unix", client.Socket)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, "want no more connections")
	close(c.leave)
	if got := <-answer; got.Forgotten != 7 {
		t.Errorf("want the answer, got %+v", got)
	}
	<-stopped
}

// dial connects to a control socket, says text, and closes in the end.
func dial(t *testing.T, client Client, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", client.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

const withoutItsBody = "POST /api/v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"

func TestWhoHasNotAskedHoldsUpNoStop(t *testing.T) {
	for _, text := range []string{"", "P", "POST /api/v1/reload HTTP/1.1\r\nHost:", withoutItsBody} {
		client, stop := servingWithin(t, &control{}, finishTimeout)
		conn := dial(t, client, text)
		// They are accepted in order, so that conn is, when this one is answered.
		if _, err := client.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		select {
		case <-stopped:
		case <-time.After(readTimeout / 2): // well below what a limit of requests allows
			t.Errorf("after %q: want the stop not held up", text)
			<-stopped
		}
		conn.SetReadDeadline(time.Now().Add(testwait.Patience))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: want the connection closed", text)
		}
	}
}

func TestAnAnswerWaitsForNoRestOfARequest(t *testing.T) {
	client, _ := serving(t, &control{reloaded: Reloaded{Forgotten: 7}})
	conn := dial(t, client, withoutItsBody)
	conn.SetReadDeadline(time.Now().Add(readTimeout / 2))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), `"forgotten":7`) {
		t.Errorf("want the answer, got %q, %v", body, err)
	}
}

func TestAStopDoesNotWaitForEver(t *testing.T) {
	c := &control{entered: make(chan struct{}), leave: make(chan struct{})}
	listener, err := Listen(socketName(t))
	if err != nil {
		t.Fatal(err)
	}
	client := Client{Socket: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, listener, &daemonOf{}, c, slog.New(slog.NewTextHandler(&log, nil)), time.Millisecond)
	}()
	asked := make(chan error, 1)
	go func() {
		_, err := client.Reload(context.Background())
		asked <- err
	}()
	<-c.entered
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(testwait.Patience):
		t.Error("want an end although a request is being done")
	}
	if err := <-asked; err == nil || !strings.HasSuffix(err.Error(), ": it ended before it answered") {
		t.Errorf("want an error that says so, got %v", err)
	}
	if !strings.Contains(log.String(), "closed before a request is done") {
		t.Errorf("want that in the log, got %q", &log)
	}
	close(c.leave)
}

// A flood is a recording that never pauses, and ends with its client.
type flood struct{ control }

func (f *flood) Tap(_ context.Context, _ Tap, w io.Writer) error {
	block := make([]byte, 1<<20)
	for {
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
}

// A client that does not read what it has asked for does not delay the stop.
func TestAStopWaitsForNoReader(t *testing.T) {
	listener, err := Listen(socketName(t))
	if err != nil {
		t.Fatal(err)
	}
	client := Client{Socket: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, &daemonOf{}, new(flood), slog.New(slog.DiscardHandler)) }()
	recording, err := client.Tap(t.Context(), Tap{})
	if err != nil {
		t.Fatal(err)
	}
	defer recording.Close()
	began := time.Now()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if took, most := time.Since(began), 700*time.Millisecond; took > most {
		t.Errorf("want a stop within %v, got one of %v", most, took)
	}
}

func TestNoRequestBeginsAfterTheEnd(t *testing.T) {
	r := &requests{finished: make(chan struct{}), unsent: make(map[net.Conn]bool)}
	if !r.begin(nil) {
		t.Error("want a request to begin")
	}
	r.end()
	if r.begin(nil) {
		t.Error("want none to begin after the end")
	}
	select {
	case <-r.finished:
		t.Error("want the one that has begun waited for")
	default:
	}
	r.done()
	<-r.finished
}

// The end of an answer in parts, such as a recording, is sent before the stop closes
// the connection.
func TestAStopEndsStreamsInOrder(t *testing.T) {
	for n := range 200 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		handler := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			io.WriteString(w, "begin")
			_ = http.NewResponseController(w).Flush()
			<-request.Context().Done()
			io.WriteString(w, "end")
		})
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() {
			served <- serveHandler(ctx, listener, handler, nil, slog.New(slog.DiscardHandler), testwait.Patience)
		}()
		response, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		got, err := io.ReadAll(response.Body)
		if err != nil || string(got) != "beginend" {
			t.Fatalf("stop %d: want the whole answer; got %q, %v", n, got, err)
		}
		response.Body.Close()
		if err := <-served; err != nil {
			t.Fatal(err)
		}
	}
}
