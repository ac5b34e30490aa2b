package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const nodeB = "0123456789abcdef"

// asked returns a client of the control socket of d.
func asked(t *testing.T, d *daemonOf) Client {
	t.Helper()
	mux := http.NewServeMux()
	r := newReader(d)
	r.add(mux)
	r.addCluster(mux)
	return asking(t, mux)
}

// clustered is a daemon that knows one other node, which answers with f.
func clustered(f func(ctx context.Context, node string, query Query) (PeerPage, error)) *daemonOf {
	d := &daemonOf{others: f}
	d.status.Cluster = Cluster{On: true, Nodes: []ClusterNode{{ID: nodeB, Name: "b", State: NodeHere}}}
	return d
}

func TestAnotherNodeIsAskedForItsPeers(t *testing.T) {
	var gotNode string
	var gotQuery Query
	all := somePeers(3)
	client := asked(t, clustered(func(_ context.Context, node string, query Query) (PeerPage, error) {
		gotNode, gotQuery = node, query
		return query.Select(append([]*Peer(nil), all...)), nil
	}))
	want := Query{Offset: 1, Limit: 7, Sort: "address", Descending: true, Search: "192.0.2.", State: "ok", Kind: "learned"}
	page, err := client.ClusterPeers(t.Context(), nodeB, want)
	if err != nil {
		t.Fatal(err)
	}
	if gotNode != nodeB || gotQuery != want {
		t.Errorf("want %s asked for %+v, got %s for %+v", nodeB, want, gotNode, gotQuery)
	}
	expected := want.Select(append([]*Peer(nil), all...))
	for i := range expected.Peers {
		expected.Peers[i].Node = "b"
	}
	if diff := cmp.Diff(expected, page, cmpopts.EquateComparable(Peer{}.Address), cmpopts.EquateEmpty()); diff != "" || len(page.Peers) == 0 {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhyAnotherNodeDoesNotAnswerIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		err        error
		status     int
		code       int
		hint, want string
	}{
		"none":  {&Failure{Message: "there is no node 0123456789abcdef", Way: "udprelay status --cluster", Code: 1}, 404, 1, "udprelay status --cluster", "there is no node"},
		"busy":  {&Failure{Message: "the node is busy", Code: 69}, 503, 69, "", "the node is busy"},
		"usage": {&Failure{Message: "no", Code: 64}, 400, 64, "", "no"},
		"late":  {fmt.Errorf("ask: %w", context.DeadlineExceeded), 503, 69, "udprelay status --cluster says whether it is here", "the node did not answer within 8s"},
		"other": {errors.New("bad luck"), 500, 1, "", "bad luck"},
	} {
		r := newReader(clustered(func(context.Context, string, Query) (PeerPage, error) { return PeerPage{}, test.err }))
		mux := http.NewServeMux()
		r.addCluster(mux)
		code, body := get(t, mux, "/api/v1/cluster/peers?node="+nodeB)
		var failure Failure
		if err := json.Unmarshal([]byte(body), &failure); err != nil || code != test.status || failure.Code != test.code || failure.Way != test.hint || !strings.Contains(failure.Message, test.want) {
			t.Errorf("%s: want %d and %q, got %d: %s", name, test.status, test.want, code, body)
		}
	}
}

func TestANodeIsNamedByItsID(t *testing.T) {
	client := asked(t, clustered(func(context.Context, string, Query) (PeerPage, error) {
		t.Error("want nobody asked")
		return PeerPage{}, nil
	}))
	const want = "; want the ID of one node, 16 hexadecimal digits, as the status has it"
	for query, says := range map[string]string{
		"":                                 `node is ""` + want,
		"node=":                            `node is ""` + want,
		"node=b":                           `node is "b"` + want,
		"node=0123456789ABCDEF":            `node is "0123456789ABCDEF"` + want,
		"node=0123456789abcde%2A":          `node is "0123456789abcde*"` + want,
		"node=" + nodeB + "0":              `node is "0123456789abcdef0"` + want,
		"node=" + nodeB + "&node=" + nodeB: `node is "0123456789abcdef,0123456789abcdef"` + want,
		"node=" + nodeB + "&limit=1001":    `limit is "1001"; want a number from 1 to 1000`,
		"node=" + nodeB + "&x=1":           `unknown parameter "x"; want offset, limit, sort, search, state or kind`,
	} {
		err := client.do(t.Context(), http.MethodGet, "/api/v1/cluster/peers?"+query, nil, new(PeerPage))
		if failure := (*Failure)(nil); !errors.As(err, &failure) || failure.Code != 64 || failure.Message != says {
			t.Errorf("%q: want %q, got %v", query, says, err)
		}
	}
}

// Who reaches the page alone may not make other machines work.
func TestOnlyTheControlSocketAsksOtherNodes(t *testing.T) {
	d := clustered(func(context.Context, string, Query) (PeerPage, error) {
		t.Error("want nobody asked")
		return PeerPage{}, nil
	})
	base, _ := over(t, d, nil)
	response, err := client.Get(base + "/api/v1/cluster/peers?node=" + nodeB)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("want 404 at admin.http, got %s", response.Status)
	}

	reached := make(chan struct{}, 1)
	d = clustered(func(context.Context, string, Query) (PeerPage, error) {
		reached <- struct{}{}
		return PeerPage{}, nil
	})
	listener, err := Listen(socketName(t))
	if err != nil {
		t.Fatal(err)
	}
	name := listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, d, &control{}, slog.New(slog.DiscardHandler)) }()
	page, err := Client{Socket: name}.ClusterPeers(t.Context(), nodeB, Query{})
	if err != nil || page.Peers == nil || len(reached) != 1 {
		t.Errorf("want a page by the control socket, got %+v, %v", page, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// No more than some ask at a time; the others are told at once, and other
// answers are not held up.
func TestRequestsToOtherNodesAreBounded(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	client := asked(t, clustered(func(ctx context.Context, _ string, _ Query) (PeerPage, error) {
		if deadline, has := ctx.Deadline(); !has || time.Until(deadline) > askTimeout {
			t.Errorf("want a deadline, got %v", deadline)
		}
		entered <- struct{}{}
		<-leave
		return PeerPage{}, nil
	}))
	ended := make(chan error, nodesAtOnce)
	for range nodesAtOnce {
		go func() {
			_, err := client.ClusterPeers(t.Context(), nodeB, Query{})
			ended <- err
		}()
	}
	for range nodesAtOnce {
		<-entered
	}
	_, err := client.ClusterPeers(t.Context(), nodeB, Query{})
	if failure := (*Failure)(nil); !errors.As(err, &failure) || failure.Code != 69 || !strings.Contains(failure.Message, "4 requests to other nodes are on the way already; want 4 at most") {
		t.Errorf("want one too many refused, got %v", err)
	}
	if _, err := client.Peers(t.Context(), Query{}); err != nil {
		t.Errorf("want the own peers all the same, got %v", err)
	}
	close(leave)
	for range nodesAtOnce {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// Whoever asked and has gone is not asked for any longer.
func TestTheContextOfARequestReachesTheNode(t *testing.T) {
	entered, left := make(chan struct{}), make(chan error, 1)
	client := asked(t, clustered(func(ctx context.Context, _ string, _ Query) (PeerPage, error) {
		close(entered)
		<-ctx.Done()
		left <- context.Cause(ctx)
		return PeerPage{}, ctx.Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := client.ClusterPeers(ctx, nodeB, Query{})
		done <- err
	}()
	<-entered
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("want the request ended by the client, got %v", err)
	}
	<-done
}

// What another machine says of its peers can be shown, and is no longer than
// what was asked for.
func TestWhatAnotherNodeSaysIsCleaned(t *testing.T) {
	const evil = "\x1b[2J\u202e<img src=x onerror=alert(1)>\xff\x00\n"
	dropped := map[string]uint64{evil: 1}
	for i := range 2 * mostDrops {
		dropped[fmt.Sprint(i)] = 1
	}
	bad := Peer{
		Node: "another", Address: netip.MustParseAddrPort("192.0.2.7:9"), Transport: evil, Name: strings.Repeat("é", 1000),
		May: evil, JoinedBy: evil, State: evil, Dropped: dropped,
	}
	client := asked(t, clustered(func(context.Context, string, Query) (PeerPage, error) {
		return PeerPage{Total: -1, Matched: -5, Offset: -3, Peers: []Peer{bad, bad, bad}}, nil
	}))
	page, err := client.ClusterPeers(t.Context(), nodeB, Query{Offset: 4, Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Peers) != 2 || page.Total != 0 || page.Matched != 0 || page.Offset != 4 {
		t.Errorf("want no more than asked for, got %d peers, %+v", len(page.Peers), page)
	}
	p := page.Peers[0]
	if p.Node != "b" || len(p.Dropped) > mostDrops {
		t.Errorf("want the name that is known, and few reasons, got %q, %d", p.Node, len(p.Dropped))
	}
	value := reflect.ValueOf(p)
	for i := range value.NumField() {
		if field := value.Field(i); field.Kind() == reflect.String {
			wantShown(t, value.Type().Field(i).Name, field.String())
		}
	}
	for reason := range p.Dropped {
		wantShown(t, "a reason", reason)
	}
}

func wantShown(t *testing.T, what, text string) {
	t.Helper()
	if len(text) > mostWord || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%s: want what can be shown, got %q", what, text)
	}
}

func FuzzShown(f *testing.F) {
	f.Add("b")
	f.Add("\x1b[2J\xff")
	f.Add(strings.Repeat("é", 200))
	f.Fuzz(func(t *testing.T, text string) {
		got := shown(text)
		wantShown(t, "a text", got)
		if shown(got) != got {
			t.Errorf("want it to stay as it is, got %q of %q", shown(got), got)
		}
	})
}

// Lists are lists in JSON, whether there is a cluster or not.
func TestAClusterHasNoNulls(t *testing.T) {
	_, handler := reading(&daemonOf{})
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/api/v1/status", nil))
	body, err := io.ReadAll(recorder.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ Cluster map[string]json.RawMessage }
	if err := json.Unmarshal(body, &status); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"on": "false", "drops": "{}", "routes": "[]", "nodes": "[]"} {
		if got := string(status.Cluster[field]); got != want {
			t.Errorf("%s: want %s, got %s", field, want, got)
		}
	}
}

func TestShortTimesAreToldToTheMicrosecond(t *testing.T) {
	for given, want := range map[time.Duration]string{
		0: "0", 240*time.Microsecond + 300*time.Nanosecond: "0.00024", 87 * time.Millisecond: "0.087",
		time.Second: "1", 1234567 * time.Microsecond: "1.235", -time.Hour: "-3600",
	} {
		text := encode(Seconds{given})
		var back Seconds
		if err := json.Unmarshal(text, &back); err != nil || string(text) != want {
			t.Errorf("%v: want %s, got %s, %v", given, want, text, err)
		}
		if off := (back.Duration - given).Abs(); off > time.Millisecond {
			t.Errorf("%v comes back as %v", given, back)
		}
	}
}
