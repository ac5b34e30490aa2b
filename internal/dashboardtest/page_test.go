package dashboardtest

import (
	"fmt"
	"path/filepath"
	"testing"

	"udprelay/internal/admin/dashboard/pagetest"
)

// TestNoTrafficYet opens the page of a relay that has just started.
func TestNoTrafficYet(t *testing.T) {
	d := startDaemon(t, quiet)
	p := d.open(pagetest.Options{})
	p.ShowPeers()
	for id, text := range map[string]string{
		"connection-text": "live", "listen": d.relay.String(), "peers-all": "0", "peers-learned": "0 of 10,000", "peers-static": "0",
		"peers-receivers": "0", "peers-trouble": "none quarantined or banned", "received-rate": "0", "received-bytes-rate": "0 B/s",
		"received-total": "0, 0 B", "delivered-rate": "0", "delivered-total": "0, 0 B", "dropped-rate": "0", "dropped-total": "0",
		"dropped-most": "none at the moment", "peer-count": "0 peers",
		"no-peers": "There are no peers: nobody has sent a datagram yet, or all have expired.",
	} {
		p.WaitText(id, text)
	}
	p.WaitMatch("uptime", `^\d+ s$`)
	p.WaitMatch("version", `.`)
	p.WaitMatch("receive-of", `^0 B of \d`)
	p.WaitMatch("send-of", `^0 B of \d`)
	p.Wait(`document.title === %s`, pagetest.Quote("udprelay "+d.relay.String()))
	p.Wait(`!document.getElementById("no-drops").hidden && document.querySelectorAll("#drop-rows tr").length === 0`)
	p.Wait(`[...document.querySelectorAll("#rule-rows td.address")].map((e) => e.textContent).join() === "loopback,private,link-local"`)
	for i, n := range p.Inked() {
		if n == 0 {
			t.Errorf("chart %d is not there", i)
		}
	}
	p.Clean()
}

// TestCounts has the page show what real sockets sent and got, to the datagram.
func TestCounts(t *testing.T) {
	d := startDaemon(t, quiet)
	p := d.open(pagetest.Options{})
	empty := p.Inked()
	all := newClients(t, d, "127.0.0.10", "127.0.0.11", "127.0.0.12")
	talker, others := all[0], all[1:]
	p.WaitText("peers-all", "3")
	talker.say(300, 100, others...)
	p.WaitText("received-total", "303, 30.0 kB") // with the keep-alives that joined
	p.WaitText("delivered-total", "600, 60.0 kB")
	others[0].say(40, 1000, talker, others[1])
	p.WaitText("received-total", "343, 70.0 kB")
	p.WaitText("delivered-total", "680, 140 kB")
	p.WaitText("dropped-total", "0")
	for id, label := range map[string]string{"chart-datagrams": "Datagrams", "chart-bytes": "Bytes"} {
		for i, way := range []string{"in", "out"} {
			p.Wait(`new RegExp(%s).test(document.querySelectorAll("#%s [role=img]")[%d].ariaLabel)`,
				pagetest.Quote("^"+label+" "+way+`, last 5 min: now .*, mean .*, highest [1-9]`), id, i)
		}
	}
	p.Click("#ranges [data-minutes='1']") // where a second is wide enough to be seen
	for i, n := range p.Inked() {
		if n <= empty[i] {
			t.Errorf("chart %d has %d pixels with traffic, and had %d without", i, n, empty[i])
		}
	}
	p.ShowPeers()
	p.WaitText("peer-count", "1–3 of 3 peers")
	for i, want := range []struct{ from, to string }{
		{"From it 301 datagrams, 30.0 kB;", "To it 40 datagrams, 40.0 kB;"}, {"From it 41 datagrams, 40.0 kB;", "To it 300 datagrams, 30.0 kB;"},
		{"From it 1 datagram, 0 B;", "To it 340 datagrams, 70.0 kB;"},
	} {
		detailsSay(p, all[i].address(), "ok: takes part", "send and receive", "by sending a datagram (join: open)", want.from, want.to, "Dropped none")
	}
	p.Clean()
}

// TestGoneAndBack stops the daemon below the page and starts it again.
func TestGoneAndBack(t *testing.T) {
	d := startDaemon(t, fmt.Sprintf("admin: {socket: none}\nstate: {file: %q}", filepath.Join(t.TempDir(), "peers")))
	p := d.open(pagetest.Options{})
	all := newClients(t, d, "127.0.0.10", "127.0.0.11")
	p.WaitText("peers-all", "2")
	all[0].say(60, 100, all[1])
	p.WaitText("received-total", "62, 6.00 kB")
	p.Clean()

	d.stop()
	p.Gone()
	p.WaitText("connection-text", "gone")
	p.WaitText("received-total", "62, 6.00 kB") // what was known is still there

	d.restart()
	p.Live()
	p.Wait(`document.getElementById("gone").hidden`)
	p.Forget() // that it did not answer
	p.WaitText("received-total", "0, 0 B")
	p.WaitText("peers-all", "2") // they outlive a restart
	all[1].say(25, 40, all[0])
	p.WaitText("received-total", "25, 1.00 kB")
	p.WaitText("delivered-total", "25, 1.00 kB")
	p.ShowPeers()
	p.WaitText("peer-count", "1–2 of 2 peers")
	p.Wait(`document.getElementById("newer").hidden`)
	p.Clean()
}

// TestThemes sees to it that all text can be read on what is behind it, by
// daylight and at night, with all that real traffic brings to the page.
func TestThemes(t *testing.T) {
	d := startDaemon(t, room)
	r := newRoom(t, d)
	light, dark := d.open(pagetest.Options{}), d.open(pagetest.Options{Dark: true})
	r.talker.say(20, 100, r.listeners...)
	r.refused()
	for _, p := range []*pagetest.Page{light, dark} {
		p.WaitText("dropped-total", "12")
		p.ShowPeers()
		p.Details(r.talker.address())
		p.Why(r.talker.address())
	}
	const day, night = "rgb(244, 246, 248)", "rgb(18, 22, 27)"
	check := func(p *pagetest.Page, button, background string) {
		t.Helper()
		p.WaitText("theme", "Theme: "+button)
		if got := p.Background(); got != background {
			t.Errorf("theme %s: the background is %s, want %s", button, got, background)
		}
		if pale := pagetest.Eval[[]string](p, pagetest.PaleTexts); len(pale) > 0 {
			t.Errorf("theme %s: hard to read: %q", button, pale)
		}
	}
	check(light, "auto", day)
	check(dark, "auto", night)
	light.Click("#theme")
	check(light, "dark", night)
	dark.Click("#theme")
	check(dark, "light", day)
	dark.Reload()
	dark.Live()
	check(dark, "light", day)
	for _, p := range []*pagetest.Page{light, dark} {
		p.Clean()
	}
}
