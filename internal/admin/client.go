package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
)

// mostAnswer bounds what a client reads, in bytes.
const mostAnswer = 64 << 20

// A Client asks the daemon behind a control socket.
type Client struct {
	Socket string // the name of the unix socket
}

// Reload has the daemon read its configuration again. The error is a
// [*Failure] if the daemon did not do it, or an [*Unreachable].
func (c Client) Reload(ctx context.Context) (Reloaded, error) {
	var reloaded Reloaded
	return reloaded, c.do(ctx, http.MethodPost, "/v1/reload", &reloaded)
}

// do sends a request and reads its answer into result.
func (c Client) do(ctx context.Context, method, path string, result any) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://udprelay"+path, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if errors.Is(err, io.EOF) {
		err = errors.New("it ended before it answered")
	}
	if err != nil {
		return &Unreachable{c.Socket, reason(err)}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err != nil {
		return &Unreachable{c.Socket, err}
	}
	if response.StatusCode >= http.StatusBadRequest {
		failure := &Failure{}
		if json.Unmarshal(body, failure) != nil || failure.Message == "" {
			return &Unreachable{c.Socket, fmt.Errorf("what is there answers %s %s with %s; is it a relay of another version?", method, path, response.Status)}
		}
		return failure
	}
	if err := json.Unmarshal(body, result); err != nil {
		return &Unreachable{c.Socket, fmt.Errorf("an answer that cannot be read: %w", err)}
	}
	return nil
}

// Unreachable is a daemon that does not answer.
type Unreachable struct {
	Socket string
	Err    error
}

func (e *Unreachable) Error() string {
	return fmt.Sprintf("no relay answers at the control socket %s: %v", e.Socket, e.Err)
}

func (e *Unreachable) Unwrap() error { return e.Err }

// ExitCode is EX_UNAVAILABLE of sysexits.h.
func (e *Unreachable) ExitCode() int { return 69 }

// Hint returns a way out.
func (e *Unreachable) Hint() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return "only root and the user of the relay may ask it; try sudo"
	case Absent(e.Err):
		return "is the relay running? --socket names the socket of another one, such as /run/udprelay-NAME/control.sock"
	}
	return ""
}
