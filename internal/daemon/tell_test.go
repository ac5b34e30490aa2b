package daemon

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/testwait"
)

// getJSON asks the daemon by HTTP.
func getJSON(t *testing.T, url string, into any) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", url, response.Status, err, text)
	}
	if page, ok := into.(*string); ok {
		*page = string(text)
	} else if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v: %s", url, err, text)
	}
}

// What is told by HTTP is what happens: each datagram that is sent, received,
// refused is in the figures.
func TestTheFiguresAreOfWhatHappens(t *testing.T) {
	d := start(t, surroundings{}, keyed("admin.http", "127.0.0.1:0"), allow("127.0.0.9=nothing"), allow("127.0.0.8=receive"), allow("loopback"))
	base := strings.TrimSuffix(d.await(t, `msg="dashboard and metrics" at=(\S+)`)[1], "/")
	relay := d.addr(t)
	listener, speaker := enter(t, "127.0.0.2", relay), enter(t, "127.0.0.3", relay)
	for range 5 {
		speaker.say(t, "12345")
		listener.hears(t, "12345")
	}
	enter(t, "127.0.0.9", relay).say(t, "let me in") // and an empty one before
	mute := enter(t, "127.0.0.8", relay)
	mute.say(t, "I may not")
	speaker.say(t, "the last")
	listener.hears(t, "the last")
	mute.hears(t, "the last")

	var status admin.Status
	for deadline := time.Now().Add(testwait.Patience); time.Now().Before(deadline) && (status.Counters.Delivered < 7 || !status.Ready); {
		getJSON(t, base+"/api/v1/status", &status)
	}
	if !status.Ready || status.Listen != relay.String() || status.Peers != (admin.PeerCount{Learned: 3, Receivers: 3, Max: 10000}) {
		t.Errorf("want three learned peers at %v, got %+v", relay, status)
	}
	want := admin.Counters{Received: 12, ReceivedBytes: 5*5 + 9 + 9 + 8, KeepAlives: 3, Relayed: 6, Due: 7, Delivered: 7, DeliveredBytes: 5*5 + 2*8, Joined: 3}
	if status.Counters != want {
		t.Errorf("want %+v, got %+v", want, status.Counters)
	}
	if status.Talks == nil || len(status.Talks) > 0 {
		t.Errorf("want an empty list of talks, got %#v", status.Talks)
	}
	if status.Drops["rule"] != 2 || status.Drops["may_not_send"] != 1 {
		t.Errorf("want 2 refused and 1 that may not send, got %v", status.Drops)
	}
	if len(status.Rules) != 4 || status.Rules[0].Refused != 2 || status.Rules[1].Peers != 1 || status.Rules[2].Peers != 2 || status.Rules[3].From != "" {
		t.Errorf("want 2 refused by the first rule, 1 and 2 peers by the next, got %+v", status.Rules)
	}

	var page admin.PeerPage
	getJSON(t, base+"/api/v1/peers?sort=-received", &page)
	if page.Total != 3 || page.Peers[0].Address.String() != speaker.LocalAddr().String() {
		t.Fatalf("want the speaker first of 3, got %+v", page)
	}
	first := page.Peers[0]
	if first.Received != 7 || first.ReceivedBytes != 5*5+8 || first.Delivered != 0 || first.May != "both" || first.JoinedBy != "open" || first.State != "ok" || first.ReceivedRate <= 0 || first.Heard == nil || first.Expires == nil {
		t.Errorf("want what the speaker has said, got %+v", first)
	}
	getJSON(t, base+"/api/v1/peers?search=127.0.0.8", &page)
	if page.Matched != 1 || page.Peers[0].Dropped["may_not_send"] != 1 || page.Peers[0].DroppedTotal != 1 || page.Peers[0].Delivered != 1 || page.Peers[0].May != "receive" {
		t.Errorf("want what was dropped of the one who may not send, got %+v", page)
	}

	var text string
	if getJSON(t, base+"/healthz", &text); text != "ok\n" {
		t.Errorf("want it healthy, got %q", text)
	}
	if getJSON(t, base+"/", &text); !strings.Contains(text, "<title>") {
		t.Errorf("want the dashboard, got %q", text)
	}
}

// A sender is listed after the peers, by its address alone.
func TestSendersAreListedAfterThePeers(t *testing.T) {
	d := start(t, surroundings{}, keyed("admin.http", "127.0.0.1:0"), keyed("peers.max", "1"), allow("127.0.0.7=send"), allow("loopback"))
	base := strings.TrimSuffix(d.await(t, `msg="dashboard and metrics" at=(\S+)`)[1], "/")
	relay := d.addr(t)
	for range 3 { // each from a port of its own
		enter(t, "127.0.0.7", relay)
	}
	listener := enter(t, "127.0.0.2", relay)
	last := enter(t, "127.0.0.7", relay)
	last.say(t, "a line")
	listener.hears(t, "a line")

	var status admin.Status
	getJSON(t, base+"/api/v1/status", &status)
	if status.Peers != (admin.PeerCount{Learned: 1, Receivers: 1, Max: 1, Senders: 1}) || status.Rules[0].Peers != 1 {
		t.Errorf("want one peer of one at most, and one sender, of the first rule; got %+v, %+v", status.Peers, status.Rules)
	}
	var page admin.PeerPage
	for query, want := range map[string][]string{
		"": {listener.LocalAddr().String(), "127.0.0.7:0"}, "limit=1": {listener.LocalAddr().String()}, "offset=1": {"127.0.0.7:0"}, "offset=2": nil,
		"kind=sender": {"127.0.0.7:0"}, "kind=learned": {listener.LocalAddr().String()}, "sort=-received": {"127.0.0.7:0", listener.LocalAddr().String()},
	} {
		getJSON(t, base+"/api/v1/peers?"+query, &page)
		var got []string
		for _, p := range page.Peers {
			got = append(got, p.Address.String())
		}
		if !slices.Equal(got, want) || page.Total != 2 {
			t.Errorf("%q: want %v of 2, got %v of %d", query, want, got, page.Total)
		}
	}
	getJSON(t, base+"/api/v1/peers?kind=sender", &page)
	if p := page.Peers[0]; !p.Sender || p.Static || p.May != "send" || p.JoinedBy != "open" || p.State != "ok" || p.Received != 5 || p.ReceivedBytes != 6 || p.Heard == nil || p.Expires == nil {
		t.Errorf("want what the sender has said, got %+v", p)
	}
	for _, address := range []string{"127.0.0.7", "127.0.0.7:*", last.LocalAddr().String()} {
		var why admin.Why
		getJSON(t, base+"/api/v1/why?address="+address, &why)
		if want := "its datagrams would be relayed to 1 peer; nothing is sent to it: it may only send"; why.Verdict != want || why.Peer == nil || !why.Peer.Sender {
			t.Errorf("%s: want %q of a sender, got %q, %+v", address, want, why.Verdict, why.Peer)
		}
	}
}

// Every relay of a machine has the same default address, and one has it.
func TestAnAddressThatIsTakenKeepsNobodyFromRelaying(t *testing.T) {
	first := start(t, surroundings{}, keyed("admin.http", "127.0.0.1:0"))
	url := first.await(t, `msg="dashboard and metrics" at=http://(\S+)/`)[1]
	second := start(t, surroundings{}, keyed("admin.http", url))
	second.await(t, `level=WARN msg="no dashboard and no metrics" address=`+url+` error="address already in use"`)
	listener := enter(t, "127.0.0.2", second.addr(t))
	enter(t, "127.0.0.3", second.addr(t)).say(t, "all the same")
	listener.hears(t, "all the same")
}

func TestStaticPeersAreToldByTheirNames(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, keyed("peers.static", "localhost:9"))
	d.addr(t)
	var page admin.PeerPage
	client := admin.Client{Socket: filepath.Join(directory, controlName)}
	for deadline := time.Now().Add(testwait.Patience); time.Now().Before(deadline) && page.Total == 0; {
		var err error
		if page, err = client.Peers(context.Background(), admin.Query{}); err != nil {
			continue // it is not open yet
		}
	}
	if page.Total != 1 || page.Peers[0].Name != "localhost:9" || page.Peers[0].JoinedBy != "static" || page.Peers[0].Heard != nil || page.Peers[0].Expires != nil {
		t.Errorf("want the static peer by its name, got %+v", page)
	}
}
