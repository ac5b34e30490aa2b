package dashboardtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/admin/dashboard/pagetest"
)

// room has a rule of each kind.
const room = quiet + `
access:
- {from: 127.0.66.0/24, may: nothing}
- {from: 127.0.7.0/24, may: receive}
- {from: loopback}
`

// A roomful is clients that these rules treat differently.
type roomful struct {
	talker    *client
	listeners []*client
	receiver  *client // may only receive
	outsider  *client // may do nothing
}

func newRoom(t testing.TB, d *daemon) roomful {
	t.Helper()
	all := newClients(t, d, "127.0.0.10", "127.0.0.11", "127.0.0.112", "127.0.7.5")
	return roomful{talker: all[0], listeners: all[1:], receiver: all[3], outsider: newClient(t, d, "127.0.66.6")}
}

// refused sends what the relay drops: 7 of the outsider, 5 of the receiver.
func (r roomful) refused() {
	r.outsider.say(7, 100)
	r.receiver.say(5, 100)
}

func TestDrops(t *testing.T) {
	d := startDaemon(t, room)
	r := newRoom(t, d)
	p := d.open(pagetest.Options{})
	p.WaitText("peers-all", "4")
	r.talker.say(20, 100, r.listeners...)
	r.refused()
	p.WaitText("dropped-total", "12")
	p.WaitText("received-total", "36, 3.20 kB")
	p.WaitText("delivered-total", "60, 6.00 kB")
	for reason, text := range map[string]string{"rule": "rule in 7 N 58.3 %", "may_not_send": "may_not_send in 5 N 41.7 %"} {
		// N is the rate, of which some is shown for a second.
		p.Wait(`document.querySelector("#drop-rows [data-reason=%s]")?.innerText.replace(/\s+/g, " ").trim().replace(/ [\d.]+ (?=[\d.]+ %%)/, " N ") === %s`,
			reason, pagetest.Quote(text))
	}
	p.Wait(`[...document.querySelectorAll("#drop-rows [data-reason]")].map((e) => e.dataset.reason).join() === "rule,may_not_send"`)
	p.Wait(`[...document.querySelectorAll("#rule-rows tr")].map((e) => e.innerText.replace(/\s+/g, " ").trim()).join(";") === %s`,
		pagetest.Quote("access[0] 127.0.66.0/24 nothing open 0 7;access[1] 127.0.7.0/24 receive open 1 0;access[2] loopback both open 3 0;no rule matched nothing 0 0"))

	// Of a peer, and of one that is none.
	p.ShowPeers()
	detailsSay(p, r.receiver.address(), "ok: takes part", "5 datagrams", "may_not_send 5", "say may: both or may: send in its rule")
	answer := p.Why(r.receiver.address())
	for _, part := range []string{"may send: it may only receive decides", "may receive: yes", "may_not_send 5"} {
		if !strings.Contains(answer, part) {
			t.Errorf("the answer lacks %q:\n%s", part, answer)
		}
	}
	p.Search(r.outsider.address(), `^0 that match, of 4 peers$`)
	p.Click("#no-peers button.why")
	p.Wait(`document.querySelector("#no-peers .answer").innerText.includes("rule 7, by access[0] from 127.0.66.0/24, last ")`)
	p.Wait(`document.querySelector("#no-peers .verdict").textContent.startsWith("Refused: access[0] from 127.0.66.0/24 matches")`)
	p.Wait(`document.querySelectorAll("#no-peers .decides").length === 2`) // on the way in, and on the way to it
	p.Clean()
}

func TestSearchAndSort(t *testing.T) {
	mute := newMute(t)
	d := startDaemon(t, room+fmt.Sprintf("peers: {static: [{address: \"localhost:%d\"}]}\n", mute.port))
	r := newRoom(t, d)
	p := d.open(pagetest.Options{})
	p.ShowPeers()
	p.WaitText("peer-count", "1–5 of 5 peers")
	r.refused()
	defer steadily(r.talker, 5*time.Millisecond)()

	static := fmt.Sprintf("127.0.0.1:%d", mute.port)
	order := []string{static, r.talker.address(), r.listeners[0].address(), r.listeners[1].address(), r.receiver.address()}
	shows := func(rows ...string) {
		t.Helper()
		p.Wait(`[...document.querySelectorAll("#peer-rows tr[data-address]")].map((r) => r.dataset.address).join() === %s`, pagetest.Quote(strings.Join(rows, ",")))
	}
	shows(order...) // by address as a number
	p.SortBy("address", "descending")
	slices.Reverse(order)
	shows(order...)
	p.SortBy("dropped_total", "descending")
	p.Wait(`document.querySelector("#peer-rows tr[data-address]").dataset.address === %s`, pagetest.Quote(r.receiver.address()))
	p.Wait(`document.querySelector("#peer-rows td:nth-child(7)").textContent === "5"`)
	p.SortBy("received_rate", "descending")
	p.Wait(`document.querySelector("#peer-rows tr[data-address]").dataset.address === %s`, pagetest.Quote(r.talker.address()))
	p.Wait(`parseFloat(document.querySelector("#peer-rows td:nth-child(3)").textContent) > 0`)
	p.SortBy("delivered_rate", "descending")
	p.SortBy("delivered_rate", "ascending") // to the talker itself nothing goes
	p.Wait(`document.querySelector("#peer-rows tr[data-address]").dataset.address === %s`, pagetest.Quote(r.talker.address()))

	p.SortBy("address", "ascending")
	p.Search("127.0.0.11", `^1–2 of 2 that match, of 5 peers$`)
	shows(r.listeners[0].address(), r.listeners[1].address())
	p.Search("localhost", `^1–1 of 1 that match`) // by the name in the configuration
	shows(static)
	p.Search("", `^1–5 of 5 peers$`)
	p.Choose("kind", "static", `^1–1 of 1 that match`)
	shows(static)
	p.Choose("kind", "", `^1–5 of 5 peers$`)

	// A program that ends without a word: what is sent to it bounces, and soon
	// it is forgotten. Its row goes.
	p.Search(r.listeners[1].address(), `^1–1 of 1 that match`)
	r.listeners[1].conn.Close()
	p.WaitText("peer-count", "0 that match, of 4 peers")
	p.WaitText("peers-all", "4")
	p.Wait(`document.querySelectorAll("#peer-rows tr").length === 0`)
	p.Clean()
}

// detailsSay opens the details of a peer and waits until they have all parts.
func detailsSay(p *pagetest.Page, address string, parts ...string) {
	p.Details(address)
	for _, part := range parts {
		p.Wait(`document.querySelector("#peer-rows tr[data-address=" + %s + "] + tr.opened").innerText.replace(/\s+/g, " ").includes(%s)`,
			pagetest.Quote(pagetest.Quote(address)), pagetest.Quote(part))
	}
}

// steadily has c send until the function that it returns is called.
func steadily(c *client, every time.Duration) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				c.conn.Write(make([]byte, 100))
			case <-done:
				return
			}
		}
	})
	return func() { close(done); running.Wait() }
}

// TestPhone sees to it that on a phone nothing scrolls sideways.
func TestPhone(t *testing.T) {
	d := startDaemon(t, room)
	r := newRoom(t, d)
	r.talker.say(50, 1000, r.listeners...)
	r.refused()
	p := d.open(pagetest.Options{Width: 375, Height: 667, Phone: true})
	p.WaitText("dropped-total", "12")
	fits := func(when string) {
		t.Helper()
		if content, window := p.Width(); content > window || window != 375 {
			t.Errorf("%s, the page is %d wide in a window of %d", when, content, window)
		}
		const wide = `[...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel)`
		if within := pagetest.Eval[[]string](p, wide); len(within) > 0 {
			t.Errorf("%s, these scroll sideways: %q", when, within)
		}
	}
	fits("at first")
	p.ShowPeers()
	p.Details(r.receiver.address())
	p.Why(r.receiver.address())
	fits("with details and an answer")
	p.Search(r.outsider.address(), `^0 that match`)
	p.Click("#no-peers button.why")
	p.Wait(`document.querySelector("#no-peers .answer").innerText !== ""`)
	p.Click("#other-drops summary")
	fits("with the answer about a stranger")
	d.stop()
	p.Gone()
	fits("without the daemon")
}
