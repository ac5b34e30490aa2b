package dashboard

import (
	"testing"
	"time"

	"udprelay/internal/admin/dashboard/pagetest"
)

func TestGoneAndBack(t *testing.T) {
	s := startStandIn(t, 100)
	s.step(500, nil)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.Click("#ranges [data-minutes='1']")
	p.Click("#chart-data summary")
	for range 20 {
		s.step(500, nil)
	}
	p.WaitText("received-rate", "500")
	p.ShowPeers()
	p.Clean()

	s.stop()
	p.Gone()
	p.WaitText("connection-text", "gone")
	p.WaitText("received-rate", "500") // what was known is still there
	p.Wait(`document.querySelector("#chart-datagrams [role=img]").ariaLabel.includes(": now unknown, mean 500/s")`)
	if n := len(p.Addresses()); n != 100 {
		t.Errorf("%d peers are shown", n)
	}

	s.change(func() { s.pass(20 * time.Second) })
	s.restart()
	p.Live()
	p.Wait(`document.getElementById("gone").hidden`)
	p.Forget()
	for range 10 {
		s.step(30, nil)
	}
	p.WaitText("received-rate", "30") // and not less than nothing, though the counts began again
	p.WaitText("received-total", "300, 60.0 kB")
	// Of the last minute, 20 seconds are unknown, and are no zeros.
	p.Wait(`(() => {
		const cells = [...document.querySelectorAll("#chart-data tbody td:nth-child(2)")].map((c) => c.textContent);
		return cells.filter((c) => c === "unknown").length >= 4 && cells[0] === "30/s" && cells.includes("500/s");
	})()`)
	p.Clean()

	s.change(func() { s.peers = s.peers[:5] })
	p.WaitText("peer-count", "1–5 of 5 peers")
}

// TestSilent is a daemon that hangs: its connections stay.
func TestSilent(t *testing.T) {
	s := startStandIn(t, 5)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	release := s.hold()
	p.Gone()
	release()
	p.Live()
	s.step(88, nil)
	p.WaitText("received-rate", "88")
}

// TestNoStreamLeft is a daemon that has no room for another stream: the page
// lives by asking.
func TestNoStreamLeft(t *testing.T) {
	s := startStandIn(t, 5)
	s.change(func() { s.refuse = true })
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	s.step(88, nil)
	p.WaitText("received-rate", "88")
	s.step(99, nil)
	p.WaitText("received-rate", "99")
	p.WaitText("connection-text", "live")
}

func TestPause(t *testing.T) {
	s := startStandIn(t, 5)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	s.step(10, nil)
	p.WaitText("received-rate", "10")
	p.Click("#pause")
	p.WaitText("connection-text", "paused")
	s.step(20, nil)
	p.Eval(`new Promise((done) => setTimeout(done, 300))`) // its event has come by now
	if text := p.Text("received-rate"); text != "10" {
		t.Errorf("paused, the figure moved to %s", text)
	}
	p.Click("#pause")
	p.WaitText("received-rate", "20")
	p.WaitText("connection-text", "live")
	p.Clean()
}

func TestAnotherVersion(t *testing.T) {
	s := startStandIn(t, 5)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	s.change(func() { s.version = "1.5.0" })
	s.step(1, nil)
	p.WaitMatch("newer", `^The daemon is now version 1\.5\.0; reload this page`)
}
