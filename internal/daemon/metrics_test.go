package daemon

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// What a peer does is in the metrics as soon as a reload wants it, and no longer.
func TestAReloadTurnsTheMetricsOfPeersOnAndOff(t *testing.T) {
	directory := shortDirectory(t)
	where := keyed("admin.http", "127.0.0.1:0")
	d := start(t, surroundings{directory: directory}, where)
	url := d.await(t, `msg="dashboard and metrics" at=(\S+)/`)[1] + "/metrics"
	speaker := enter(t, "127.0.0.2", d.addr(t))
	listener := enter(t, "127.0.0.3", d.addr(t))
	speaker.say(t, "12345")
	listener.hears(t, "12345")
	await := func(wants ...string) (page string) {
		t.Helper()
		missing := ""
		for deadline := time.Now().Add(testwait.Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			getJSON(t, url, &page)
			missing = ""
			for _, want := range wants {
				if !strings.Contains(page, "\n"+want+"\n") {
					missing = want
				}
			}
			if missing == "" {
				return page
			}
		}
		t.Fatalf("want %q in\n%s", missing, page)
		return page
	}
	ofPeers := regexp.MustCompile(`(?m)^udprelay_(peer_|peers_without).*$`)
	page := await("udprelay_due_datagrams_total 1", "udprelay_delivered_datagrams_total 1", "udprelay_no_receiver_datagrams_total 0", "udprelay_bans 0")
	if found := ofPeers.FindString(page); found != "" {
		t.Errorf("want nothing of single peers, got %s", found)
	}
	for _, on := range []bool{true, false} {
		d.change(keyed("listen", "127.0.0.1:0"), where, keyed("admin.metrics_per_peer", fmt.Sprint(on)))
		got, err := askReload(directory)
		if err != nil || len(got.Changed) != 1 || got.Changed[0] != "admin.metrics_per_peer" || got.Restart != nil {
			t.Errorf("want it changed without a restart, got %+v, %v", got, err)
		}
		if on {
			await(fmt.Sprintf(`udprelay_peer_received_bytes_total{peer="%v"} 5`, speaker.LocalAddr()),
				fmt.Sprintf(`udprelay_peer_delivered_datagrams_total{peer="%v"} 1`, listener.LocalAddr()),
				fmt.Sprintf(`udprelay_peer_delivered_datagrams_total{peer="%v"} 0`, speaker.LocalAddr()),
				"udprelay_peers_without_metrics 0")
			continue
		}
		getJSON(t, url, &page)
		if found := ofPeers.FindString(page); found != "" {
			t.Errorf("want nothing of single peers any more, got %s", found)
		}
	}
}
