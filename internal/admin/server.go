package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// A request has so long to arrive, and its answer so long to be taken.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = time.Minute
	dialTimeout  = time.Second
)

// ErrInUse is the reason of a failing [Listen] where another daemon answers.
var ErrInUse = errors.New("another relay has it")

// Listen opens the unix socket called name, for its owner only. One that a
// daemon has left behind, which nobody answers at, is replaced; what is no
// socket is left alone. Closing the listener removes it.
func Listen(name string) (net.Listener, error) {
	if err := removeStale(name); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", name, err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err == nil {
		// Until now its mode is that of the umask, which hardly ever lets others
		// write, and to connect one has to.
		if err = os.Chmod(name, 0o600); err != nil {
			listener.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", name, reason(err))
	}
	return listener, nil
}

// removeStale removes the socket called name if nobody is behind it.
func removeStale(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return reason(err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something else of that name, which is no socket")
	}
	conn, err := net.DialTimeout("unix", name, dialTimeout)
	switch {
	case err == nil:
		conn.Close()
		return ErrInUse
	case errors.Is(err, syscall.ECONNREFUSED):
		return reason(os.Remove(name))
	default:
		return reason(err)
	}
}

// reason returns the last of a chain of errors, for the name is said already.
func reason(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// Serve answers what comes by listener until ctx is cancelled, and closes it.
// What is being done then is done and answered.
func Serve(ctx context.Context, listener net.Listener, control Control, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler(control),
		ReadTimeout:       readTimeout,
		ReadHeaderTimeout: readTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		defer cancel()
		stopped <- errors.Join(server.Shutdown(ctx), server.Close())
	})
	err := server.Serve(listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func handler(control Control) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		reloaded, err := control.Reload()
		if err != nil {
			answer(w, http.StatusUnprocessableEntity, failureOf(err))
			return
		}
		answer(w, http.StatusOK, reloaded)
	})
	return mux
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

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // one that has gone away is no error of ours
}
