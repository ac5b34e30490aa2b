package admin

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"udprelay/relay"
)

// ofPeers returns the values of the series of peers.
func ofPeers(values map[string]float64) map[string]float64 {
	of := maps.Clone(values)
	maps.DeleteFunc(of, func(name string, _ float64) bool {
		return !strings.HasPrefix(name, "udprelay_peer_") && name != "udprelay_peers_without_metrics"
	})
	return of
}

func TestMetricsTellWhatEachPeerDoes(t *testing.T) {
	source := meteredPeers(2)
	source.peers[1].Dropped = map[string]uint64{"no_buffer": 7, "rule": 0, "something new": 8}
	want := map[string]float64{
		"udprelay_peers_without_metrics":                                         0,
		"udprelay_peer_dropped_datagrams_total peer=10.0.0.1:9 reason=no_buffer": 7,
	}
	for i, reason := range relay.Drops() {
		want[fmt.Sprintf("udprelay_peer_dropped_datagrams_total peer=10.0.0.0:9 reason=%s", reason)] = float64(600 + i)
	}
	for _, peer := range []string{"10.0.0.0:9", "10.0.0.1:9"} {
		for name, value := range map[string]float64{"received_datagrams": 501, "received_bytes": 502, "delivered_datagrams": 503, "delivered_bytes": 504} {
			want["udprelay_peer_"+name+"_total peer="+peer] = value
		}
	}
	if diff := cmp.Diff(want, ofPeers(gathered(t, ours(busy(), source)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := ofPeers(gathered(t, ours(busy(), &source.daemonOf))); len(got) > 0 {
		t.Errorf("want no series of peers where they are not asked for, got %v", got)
	}
}

// However many peers there are, not more have series, and the static ones do.
func TestSeriesOfPeersAreBounded(t *testing.T) {
	const more = 17
	got := ofPeers(gathered(t, ours(busy(), meteredPeers(mostMetered+more))))
	if want := mostMetered*(4+len(relay.Drops())) + 1; len(got) != want {
		t.Errorf("want %d series, got %d", want, len(got))
	}
	if left := got["udprelay_peers_without_metrics"]; left != more {
		t.Errorf("want %d peers left out, got %v", more, left)
	}
	address := func(i int) string {
		return fmt.Sprintf("udprelay_peer_received_bytes_total peer=10.%d.%d.%d:9", i>>16, i>>8&255, i&255)
	}
	for i, want := range map[int]bool{0: true, mostMetered - 2: true, mostMetered - 1: false, mostMetered + more - 2: false, mostMetered + more - 1: true} {
		if _, there := got[address(i)]; there != want {
			t.Errorf("peer %d has series: want %v, got %v", i, want, there)
		}
	}
	if !strings.Contains(read(t, monitoringPage), "10,000 peers") || !strings.Contains(read(t, "../../docs/configuration.md"), "first 10,000") {
		t.Error("want the pages to say how many")
	}
}
