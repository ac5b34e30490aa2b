package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"udprelay/internal/testwait"
)

// A daemonOf is a daemon that tells what a test has put into it.
type daemonOf struct {
	status Status
	peers  []*Peer
	bans   BanList
	others func(ctx context.Context, node string, query Query) (PeerPage, error) // nil: as this one
	hangs  atomic.Bool
	asked  atomic.Int64 // for the status
}

func (d *daemonOf) Status() Status {
	status := d.status
	n := uint64(d.asked.Add(1))
	status.Counters.Received = n
	status.Counters.Joined = n / 2 // every second status says that one has joined
	return status
}

func (d *daemonOf) Peers(offset, limit int) ([]*Peer, int) {
	from := d.peers[min(offset, len(d.peers)):]
	return append([]*Peer(nil), from[:min(limit, len(from))]...), len(d.peers)
}

func (d *daemonOf) Why(addr netip.AddrPort) Why {
	return Why{Address: addr.String(), Verdict: "It would be relayed.", Would: []Step{{"ban", "none", false}}}
}

func (d *daemonOf) Bans() BanList { return d.bans }

// ClusterPeers has the other node be one that has the same peers.
func (d *daemonOf) ClusterPeers(ctx context.Context, node string, query Query) (PeerPage, error) {
	if d.others != nil {
		return d.others(ctx, node, query)
	}
	return query.Page(d), nil
}

func (d *daemonOf) Turn(ctx context.Context) error {
	if d.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// reading returns a handler that answers for d, and the reader behind it.
func reading(d *daemonOf) (*reader, http.Handler) {
	r := newReader(d)
	mux := http.NewServeMux()
	r.add(mux)
	return r, mux
}

func get(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code, recorder.Body.String()
}

func TestStatusIsTold(t *testing.T) {
	d := &daemonOf{status: Status{Version: "1.2.3", Listen: "[::]:9000", Ready: true, Drops: map[string]uint64{"rule": 7}, Rules: []Rule{{From: "any", Refused: 3}}}}
	_, handler := reading(d)
	code, body := get(t, handler, "/api/v1/status")
	var got Status
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		t.Fatalf("want a status, got %d, %v: %s", code, err, body)
	}
	want := d.status
	want.Counters.Received = 1
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPeersAreToldInPages(t *testing.T) {
	_, handler := reading(&daemonOf{peers: somePeers(250)})
	code, body := get(t, handler, "/api/v1/peers?limit=2&offset=1&sort=-address")
	var got PeerPage
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		t.Fatalf("want peers, got %d, %v: %s", code, err, body)
	}
	if diff := cmp.Diff([]string{"192.0.2.248:40003", "192.0.2.247:40002"}, addresses(got)); diff != "" || got.Total != 250 {
		t.Errorf("of %d (-want +got):\n%s", got.Total, diff)
	}
}

func TestWhatIsAskedWrongIsToldRight(t *testing.T) {
	_, handler := reading(&daemonOf{})
	for path, want := range map[string]string{
		"/api/v1/peers?limit=x": `limit is "x"; want a number from 1 to 1000`,
		"/api/v1/why":           `address: "" is no address; want one such as 192.0.2.7:40000, [2001:db8::7]:40000 or 192.0.2.7`,
		"/api/v1/why?address=x": `address: "x" is no address; want one such as 192.0.2.7:40000, [2001:db8::7]:40000 or 192.0.2.7`,
		"/api/v1/why?port=9":    `unknown parameter "port"; want address`,
		"/api/v1/status?x=1":    `unknown parameter "x"; want none`,
		"/api/v1/bans?x=1":      `unknown parameter "x"; want none`,
		"/api/v1/events?x=1":    `unknown parameter "x"; want none`,
	} {
		code, body := get(t, handler, path)
		var failure Failure
		if err := json.Unmarshal([]byte(body), &failure); err != nil || code != http.StatusBadRequest || failure.Message != want || failure.Code != 64 {
			t.Errorf("%s: want %q with 400 and 64, got %d: %s", path, want, code, body)
		}
	}
}

func TestWhyIsAskedForAnAddress(t *testing.T) {
	_, handler := reading(&daemonOf{})
	code, body := get(t, handler, "/api/v1/why?address=[::ffff:192.0.2.7]:9")
	if want := `{"address":"192.0.2.7:9","verdict":"It would be relayed.","would":[{"step":"ban","result":"none","decides":false}],"peer":null,"did":null}` + "\n"; code != http.StatusOK || body != want {
		t.Errorf("want %s, got %d: %s", want, code, body)
	}
}

func TestHealthIsThatOfTheLoop(t *testing.T) {
	d := &daemonOf{}
	r, handler := reading(d)
	if code, body := get(t, handler, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("want ok, got %d: %s", code, body)
	}
	if code, _ := get(t, handler, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("want 503 before it is ready, got %d", code)
	}
	d.status.Ready = true
	r.when = time.Time{} // what was told is old
	if code, _ := get(t, handler, "/readyz"); code != http.StatusOK {
		t.Errorf("want 200 when it is ready, got %d", code)
	}
	d.hangs.Store(true)
	r.health = time.Millisecond
	if code, body := get(t, handler, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "makes no turn") {
		t.Errorf("want 503 when it hangs, got %d: %s", code, body)
	}
}

// over serves handler at a port of loopback until the test ends.
func over(t *testing.T, source Source, page http.Handler) (base string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- ServeHTTP(ctx, listener, "relay.example", source, page, slog.New(slog.DiscardHandler))
	}()
	ended := false
	stop = func() {
		if cancel(); !ended {
			ended = true
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return "http://" + listener.Addr().String(), stop
}

// client has no connections that outlive a request.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func TestEventsComeUntilTheDaemonStops(t *testing.T) {
	base, stop := over(t, &daemonOf{}, nil)
	response, err := client.Get(base + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("want a stream of events, got %s", got)
	}
	lines := bufio.NewScanner(response.Body)
	event := func() (name string, data string) {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = text
			}
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				data = text
			}
			if lines.Text() == "" {
				break
			}
		}
		return name, data
	}
	var status Status
	for want := range uint64(2) {
		name, data := event()
		if err := json.Unmarshal([]byte(data), &status); err != nil || name != "status" || status.Counters.Received != want+1 {
			t.Fatalf("want status %d, got %s: %s", want+1, name, data)
		}
	}
	if name, data := event(); name != "change" || data != `{"joined":1,"left":0}` {
		t.Errorf("want a change, got %s: %s", name, data)
	}
	stop()
	rest, err := io.ReadAll(response.Body)
	if err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Errorf("want the stream to end, got %q, %v", rest, err)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	base, _ := over(t, &daemonOf{}, nil)
	var open []*http.Response
	defer func() {
		for _, response := range open {
			response.Body.Close()
		}
	}()
	for range mostStreams {
		response, err := client.Get(base + "/api/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, response)
	}
	response, err := client.Get(base + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("want 503 with a time to try again, got %s", response.Status)
	}
	open[0].Body.Close()
	testwait.Until(t, func() bool {
		response, err := client.Get(base + "/api/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, "want a place again when a stream has ended")
}

func TestForeignNamesAreRefused(t *testing.T) {
	base, _ := over(t, &daemonOf{}, http.NotFoundHandler())
	for host, want := range map[string]int{
		"127.0.0.1:9001": 200, "[::1]:9001": 200, "[::1]": 200, "192.0.2.7": 200, "localhost": 200, "LocalHost.:9001": 200, "relay.example": 200, "Relay.Example:80": 200,
		"evil.example": 421, "evil.example:9001": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421, "x": 421,
	} {
		request, err := http.NewRequest(http.MethodGet, base+"/api/v1/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("host %s: want %d, got %s", host, want, response.Status)
		}
	}
}

func TestOverHTTPNothingChanges(t *testing.T) {
	base, _ := over(t, &daemonOf{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the page") }))
	for _, path := range []string{"/api/v1/reload", "/api/v1/status", "/"} {
		response, err := client.Post(base+path, "application/json", bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		want := http.StatusMethodNotAllowed
		if path == "/api/v1/reload" {
			want = http.StatusNotFound // there is none
		}
		if response.StatusCode != want {
			t.Errorf("POST %s: want %d, got %s", path, want, response.Status)
		}
	}
	response, err := client.Get(base + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); string(text) != "the page" || response.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("want the page, got %q", text)
	}
}

// A stuckWriter is the answer to a client that reads nothing.
type stuckWriter struct {
	http.ResponseWriter
	stuck chan struct{} // has an entry for each that hangs
	until chan struct{}
}

func (w stuckWriter) Write(p []byte) (int, error) {
	w.stuck <- struct{}{}
	<-w.until
	return w.ResponseWriter.Write(p)
}

// Clients that do not read their pages of peers keep nobody from theirs.
func TestSlowReadersOfPeersHoldUpNobody(t *testing.T) {
	mux := http.NewServeMux()
	newReader(new(daemonOf)).add(mux)
	ask := func(wrap func(http.ResponseWriter) http.ResponseWriter) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(wrap(recorder), httptest.NewRequest(http.MethodGet, "/api/v1/peers", nil))
		return recorder
	}
	stuck, until := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	for range 2 * peersAtOnce {
		slow.Go(func() {
			ask(func(w http.ResponseWriter) http.ResponseWriter { return stuckWriter{w, stuck, until} })
		})
	}
	for range 2 * peersAtOnce {
		<-stuck
	}
	if got := ask(func(w http.ResponseWriter) http.ResponseWriter { return w }); got.Code != http.StatusOK {
		t.Errorf("want a page beside slow readers; got %d: %s", got.Code, got.Body)
	}
	close(until)
	slow.Wait()
}
