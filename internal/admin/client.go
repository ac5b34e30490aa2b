package admin

import (
	"bytes"
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
	"time"
)

// mostAnswer bounds what a client reads, in bytes.
const mostAnswer = 64 << 20

// A Client asks the daemon behind a control socket.
type Client struct {
	Socket string // the name of the unix socket

	// Verbatim has text returned as it was sent, for other programs. Otherwise what
	// does not show is returned as escape sequences, so a terminal can show it all.
	Verbatim bool
}

// Reload has the daemon read its configuration again. The error is a
// [*Failure] if the daemon did not do it, or an [*Unreachable].
func (c Client) Reload(ctx context.Context) (Reloaded, error) {
	var reloaded Reloaded
	err := c.do(ctx, http.MethodPost, "/api/v1/reload", nil, &reloaded)
	return reloaded, err
}

// Status returns what the daemon does, as a whole. The error is as that of
// Reload.
func (c Client) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.do(ctx, http.MethodGet, "/api/v1/status", nil, &status)
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
	err := c.do(ctx, http.MethodGet, path, nil, &page)
	return page, err
}

// Why has the daemon explain what happens to datagrams from an address and for
// it. The error is as that of Reload.
func (c Client) Why(ctx context.Context, address string) (Why, error) {
	var why Why
	err := c.do(ctx, http.MethodGet, "/api/v1/why?"+url.Values{"address": {address}}.Encode(), nil, &why)
	return why, err
}

// Kick takes learned peers out; address is as [ParsePeers] reads it. The error
// is as that of Reload.
func (c Client) Kick(ctx context.Context, address string) (Kicked, error) {
	var kicked Kicked
	err := c.do(ctx, http.MethodPost, "/api/v1/kick", map[string]any{"address": address}, &kicked)
	return kicked, err
}

// Ban keeps addresses out, for a time from a second to [MostBan]; 0: for ever.
// From is as [ParsePrefix] reads it. With cluster it holds on all nodes of the
// cluster, which may take some seconds. The error is as that of Reload.
func (c Client) Ban(ctx context.Context, from string, duration time.Duration, reason string, cluster bool) (Banned, error) {
	var banned Banned
	wish := map[string]any{"from": from, "for_seconds": duration.Seconds(), "reason": reason}
	if cluster { // a relay that is older does not know the field
		wish["cluster"] = true
	}
	err := c.do(ctx, http.MethodPost, "/api/v1/ban", wish, &banned)
	return banned, err
}

// Unban ends a ban of this relay, or that of the cluster on all its nodes, which
// may take some seconds. From is as [ParsePrefix] reads it. The error is as that
// of Reload.
func (c Client) Unban(ctx context.Context, from string, cluster bool) (Unbanned, error) {
	var unbanned Unbanned
	wish := map[string]any{"from": from}
	if cluster {
		wish["cluster"] = true
	}
	err := c.do(ctx, http.MethodPost, "/api/v1/unban", wish, &unbanned)
	return unbanned, err
}

// Bans returns the bans that hold. The error is as that of Reload.
func (c Client) Bans(ctx context.Context) (BanList, error) {
	var list BanList
	err := c.do(ctx, http.MethodGet, "/api/v1/bans", nil, &list)
	return list, err
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
	response, err := c.send(ctx, http.MethodGet, path+"?"+parameters.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, c.refusal(response, http.MethodGet, path)
	}
	return response.Body, nil
}

// send sends a request, with body as JSON if it is not nil.
func (c Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(encode(body))
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://udprelay"+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
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
	if json.Unmarshal(visible(body), failure) != nil || failure.Message == "" {
		return &Unreachable{c.Socket, fmt.Errorf("what is there answers %s %s with %d %s; is it a relay of another version?", method, path, response.StatusCode, http.StatusText(response.StatusCode))}
	}
	return failure
}

// do sends a request, as send does, and reads its answer into result.
func (c Client) do(ctx context.Context, method, path string, body, result any) error {
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return c.refusal(response, method, path)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err != nil {
		return &Unreachable{c.Socket, unanswered(err)}
	}
	if !c.Verbatim {
		text = visible(text)
	}
	if err := json.Unmarshal(text, result); err != nil {
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
		return "only root, the user of the relay and the members of its admin.group may ask it; try sudo"
	case Absent(e.Err):
		return "is the relay running? one that has no control socket says so when it starts; --socket names the socket of another one, such as /run/udprelay-NAME/control.sock"
	}
	return ""
}
