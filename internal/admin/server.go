package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// A request has so long to arrive, and its answer so long to be taken.
	readTimeout  = 10 * time.Second
	writeTimeout = time.Minute

	// A request under way when the daemon stops has so long to be answered.
	finishTimeout = 80 * time.Millisecond
)

// Serve answers what comes by listener until ctx is cancelled, and closes it.
// A request under way then is answered if that takes no more than 80 ms; a client
// that has not sent its request by then is not waited for.
//
// Who may connect may ask for all that is only told. What changes something, or
// shows payloads, is for root and the user of this process, if the system tells
// who has connected (Linux, macOS, FreeBSD); others get 403.
func Serve(ctx context.Context, listener net.Listener, source Source, control Control, log *slog.Logger) error {
	return serve(ctx, listener, source, control, log, finishTimeout)
}

func serve(ctx context.Context, listener net.Listener, source Source, control Control, log *slog.Logger, finish time.Duration) error {
	mux, guarded := http.NewServeMux(), http.NewServeMux()
	reader := newReader(source)
	reader.add(mux)
	reader.addCluster(mux)
	changing := &fresh{control, reader}
	addControl(mux, changing)
	addControl(guarded, changing)
	guard := newGuard(log)
	owns := func(c caller) bool { return callersTold && guard.may(c) }
	return serveHandler(ctx, listener, guard.keep(guarded, mux), owns, log, finish)
}

// serveHandler is Serve for any handler. The context of requests ends with ctx.
// Owns reports whether a user that connects to a unix socket has reserved places.
func serveHandler(ctx context.Context, listener net.Listener, handler http.Handler, owns func(caller) bool, log *slog.Logger, finish time.Duration) error {
	counted := &requests{leave: finish * 3 / 4, finished: make(chan struct{}), unsent: make(map[net.Conn]bool)}
	places := newPlaces(listener.Addr().String(), owns, log)
	defer places.stop()
	server := &http.Server{
		Handler: places.keep(counted.count(wellFormed(handler))),
		ConnState: func(conn net.Conn, state http.ConnState) {
			places.note(conn, state)
			counted.note(conn, state)
		},
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			ctx = withCaller(ctx, conn)
			c, local := ctx.Value(callerKey{}).(caller)
			ctx = context.WithValue(ctx, placeKey{}, places.take(conn, c, local && callersTold))
			return context.WithValue(ctx, connKey{}, conn)
		},
		ReadTimeout:       readTimeout,
		ReadHeaderTimeout: readTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	server.SetKeepAlivesEnabled(false) // so that no answer waits for the rest of a request
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		listener.Close()
		counted.end()
		deadline := time.Now().Add(finish)
		select {
		case <-counted.finished:
			counted.awaitSent(deadline)
		case <-time.After(finish):
			log.Warn("a socket is closed before a request is done", "address", listener.Addr().String())
		}
	})
	err := server.Serve(listener)
	if !stop() {
		<-stopped
		err = nil
	}
	server.Close()
	return err
}

// wellFormed refuses queries of which a part cannot be understood: it would be
// passed over.
func wellFormed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, err := url.ParseQuery(request.URL.RawQuery); err != nil {
			refuse(w, fmt.Errorf("the query %s: %w", printable(request.URL.RawQuery), err))
			return
		}
		next.ServeHTTP(w, request)
	})
}

// connKey is where the context of a request has its connection.
type connKey struct{}

// Requests counts those that are being done.
type requests struct {
	// leave is how long one that only reads may write once the daemon stops: its
	// client may not read the answer. It leaves some time to end in order.
	leave time.Duration

	mu       sync.Mutex
	under    int
	unsent   map[net.Conn]bool // those whose answer may not have been sent to its end
	ended    bool
	finished chan struct{} // closed when there are none, and there will be none
}

// count returns next with its requests counted, from before it begins until its
// answer is on the way.
func (r *requests) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !r.begin(request.Context().Value(connKey{}).(net.Conn)) {
			panic(http.ErrAbortHandler) // closes the connection
		}
		defer r.done()
		if request.Method == http.MethodGet || request.Method == http.MethodHead {
			control := http.NewResponseController(w)
			stop := context.AfterFunc(request.Context(), func() {
				_ = control.SetWriteDeadline(time.Now().Add(r.leave))
			})
			defer stop()
		}
		next.ServeHTTP(w, request)
		_ = http.NewResponseController(w).Flush() // one that has gone away is no error of ours
	})
}

// begin reports whether a request may begin.
func (r *requests) begin(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.under++
		r.unsent[conn] = true
	}
	return !r.ended
}

// note takes note of a connection that is closed, after its answer.
func (r *requests) note(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.unsent, conn)
	}
}

// awaitSent waits until the ends of answers have been sent, which the server does
// after the handler has returned, but no longer than until deadline: a request that
// has not come whole delays that.
func (r *requests) awaitSent(deadline time.Time) {
	sent := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.unsent) == 0
	}
	for ; !sent() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
}

func (r *requests) done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.under--; r.ended && r.under == 0 {
		close(r.finished)
	}
}

// end lets no more requests begin.
func (r *requests) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended = true; r.under == 0 {
		close(r.finished)
	}
}

// failureOf returns what there is to say of err.
func failureOf(err error) *Failure {
	failure := &Failure{Message: err.Error(), Code: 1}
	if coder := (interface{ ExitCode() int })(nil); errors.As(err, &coder) {
		failure.Code = coder.ExitCode()
	}
	if hinter := (interface{ Hint() string })(nil); errors.As(err, &hinter) {
		failure.Way = hinter.Hint()
	}
	return failure
}

// encode writes one of our own types.
func encode(body any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return text
}

// answer writes body, with its length, so that it is complete once it is
// flushed.
func answer(w http.ResponseWriter, status int, body any) {
	text := append(encode(body), '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // one that has gone away is no error of ours
}
