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
	"net/url"
	"strconv"
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
	err := c.do(ctx, http.MethodPost, "/api/v1/reload", &reloaded)
	return reloaded, err
}

// Status returns what the daemon does, as a whole. The error is as that of
// Reload.
func (c Client) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.do(ctx, http.MethodGet, "/api/v1/status", &status)
	return status, err
}

// Peers returns the page of the peers that q asks for; a q.Limit of 0 is 100,
// more than 1000 is refused. The error is as that of Reload.
func (c Client) Peers(ctx context.Context, q Query) (PeerPage, error) {
	path := "/api/v1/peers"
	if parameters := q.Values().Encode(); parameters != "" {
		path += "?" + parameters
	}
	var page PeerPage
	err := c.do(ctx, http.MethodGet, path, &page)
	return page, err
}

// Why has the daemon explain what happens to datagrams from an address and for
// it. The error is as that of Reload.
func (c Client) Why(ctx context.Context, address string) (Why, error) {
	var why Why
	err := c.do(ctx, http.MethodGet, "/api/v1/why?"+url.Values{"address": {address}}.Encode(), &why)
	return why, err
}

// Tap returns a recording of what passes the relay, which comes until ctx is
// done, the daemon stops, or the recording is closed. The error is as that of
// Reload.
func (c Client) Tap(ctx context.Context, wish Tap) (io.ReadCloser, error) {
	parameters := url.Values{"peer": wish.Peers}
	if wish.SnapLen > 0 {
		parameters.Set("snaplen", strconv.Itoa(wish.SnapLen))
	}
	path := "/api/v1/tap"
	response, err := c.send(ctx, http.MethodGet, path+"?"+parameters.Encode())
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, c.refusal(response, http.MethodGet, path)
	}
	return response.Body, nil
}

// send sends a request.
func (c Client) send(ctx context.Context, method, path string) (*http.Response, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://udprelay"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, &Unreachable{c.Socket, unanswered(err)}
	}
	return response, nil
}

// refusal returns why the daemon has not done what it was asked for.
func (c Client) refusal(response *http.Response, method, path string) error {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err != nil {
		return &Unreachable{c.Socket, unanswered(err)}
	}
	failure := &Failure{}
	if json.Unmarshal(body, failure) != nil || failure.Message == "" {
		return &Unreachable{c.Socket, fmt.Errorf("what is there answers %s %s with %s; is it a relay of another version?", method, path, response.Status)}
	}
	return failure
}

// do sends a request and reads its answer into result.
func (c Client) do(ctx context.Context, method, path string, result any) error {
	response, err := c.send(ctx, method, path)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return c.refusal(response, method, path)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err != nil {
		return &Unreachable{c.Socket, unanswered(err)}
	}
	if err := json.Unmarshal(body, result); err != nil {
		return &Unreachable{c.Socket, fmt.Errorf("an answer that cannot be read: %w", err)}
	}
	return nil
}

// unanswered returns why there is no whole answer.
func unanswered(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it took too long to answer")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ended before it answered")
	}
	return reason(err)
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
		return "is the relay running? one that has no control socket says so when it starts; --socket names the socket of another one, such as /run/udprelay-NAME/control.sock"
	}
	return ""
}
