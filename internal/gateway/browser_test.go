package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"udprelay/internal/admin/dashboard/pagetest"
	"udprelay/peers"
	"udprelay/relay"
)

// rows returns what the list of the page has, the newest first.
func rows(p *pagetest.Page) []struct{ Way, Size, Text, Hex string } {
	return pagetest.Eval[[]struct{ Way, Size, Text, Hex string }](p, `[...document.querySelectorAll("#list .entry")].map((e) => ({
		Way: e.dataset.way, Size: e.querySelector(".number").textContent, Text: e.querySelector(".text").textContent, Hex: e.querySelector(".hex").textContent}))`)
}

// join opens the page and connects.
func (r *room) join(o pagetest.Options) *pagetest.Page {
	r.t.Helper()
	before := len(r.relay.Peers().Peers())
	p := pagetest.Open(r.t, fmt.Sprintf("http://%v%s", r.addr(peers.WebSocket), r.ways.Path), o)
	p.WaitText("connection-text", "not connected")
	p.Click("#connect")
	p.WaitText("connection-text", "connected")
	r.awaitPeers(before + 1)
	return p
}

// sendByPage types a payload as text or hex, and sends it.
func sendByPage(p *pagetest.Page, as, payload string) {
	p.Click("#as-" + as)
	p.Eval(`(() => { const e = document.getElementById("payload"); e.focus(); e.select(); })()`)
	p.Type(payload)
	p.Click("#send")
}

// Two pages and a peer by UDP talk: what one says the others hear once.
func TestPagesInARoom(t *testing.T) {
	r := openWebSockets(t, func(_ *relay.Options, o *Options) { o.Path = "/relay" })
	u := r.udp()
	a := r.join(pagetest.Options{})
	b := r.join(pagetest.Options{Width: 360, Height: 740, Phone: true, Dark: true})
	sendByPage(a, "text", "hällo from a")
	wants(t, u, "hällo from a")
	b.WaitText("received", "1")
	sendByPage(b, "hex", "00 ff 0A:7f")
	wants(t, u, "\x00\xff\x0a\x7f")
	a.WaitText("received", "1")
	u.say("<b>from UDP</b>")
	a.WaitText("received", "2")
	b.WaitText("received", "2")
	u.say(strings.Repeat("long ", 1000))
	for _, page := range []struct {
		*pagetest.Page
		first, second string // who sent them
	}{{a, "out", "in"}, {b, "in", "out"}} {
		page.WaitText("received", "3")
		page.Wait(`document.querySelectorAll("#list .entry").length === 4`)
		got := rows(page.Page)
		want := []struct{ Way, Size, Text, Hex string }{
			{"in", "5,000", strings.Repeat("long ", 103)[:512] + " …", strings.Repeat("6c 6f 6e 67 20 ", 103)[:512*3-1] + " …"},
			{"in", "15", "<b>from UDP</b>", "3c 62 3e 66 72 6f 6d 20 55 44 50 3c 2f 62 3e"},
			{page.second, "4", "··\n·", "00 ff 0a 7f"},
			{page.first, "13", "hällo from a", "68 c3 a4 6c 6c 6f 20 66 72 6f 6d 20 61"},
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("want the row %+v; got %+v", want[i], got[i])
			}
		}
		if got := page.Text("sent") + page.Text("sent-unit"); got != "1datagram" {
			t.Errorf("want 1 sent; got %q", got)
		}
		if content, window := page.Width(); content > window {
			t.Errorf("the page is %d wide in a window of %d", content, window)
		}
		page.Clean()
	}
	if dark, light := b.Background(), a.Background(); dark != "rgb(18, 22, 27)" || light != "rgb(244, 246, 248)" {
		t.Errorf("want the colours of the dashboard; got %s, %s", dark, light)
	}
	u.say("last")
	r.balance()
	r.wantNoDrops()
	for _, p := range []*pagetest.Page{a, b} {
		p.Click("#connect")
		p.WaitText("connection-text", "not connected")
	}
	r.awaitPeers(1)
	r.awaitEnded(Left, 2)
	r.balance()
}

func TestPageBoundsWhatItShows(t *testing.T) {
	r := openWebSockets(t, nil)
	u, p := r.udp(), r.join(pagetest.Options{})
	say := func(from, to int) {
		for n := from; n < to; n++ {
			u.say(fmt.Sprint("number ", n))
			if n%100 == 99 {
				p.Wait(`Number(document.getElementById("received").textContent.replace(",", "")) === %d`, n+1)
			}
		}
	}
	say(0, 700)
	p.Wait(`document.querySelectorAll("#list .entry").length === 500`)
	if got := rows(p); got[0].Text != "number 699" || got[499].Text != "number 200" {
		t.Errorf("want the last 500; got %s to %s", got[499].Text, got[0].Text)
	}
	p.Click("#pause")
	say(700, 1400)
	p.WaitText("unseen", "700 more")
	if got := rows(p); got[0].Text != "number 699" || len(got) != 500 {
		t.Errorf("want nothing new while it is paused; got %s of %d", got[0].Text, len(got))
	}
	p.Click("#pause")
	p.Wait(`document.querySelector("#list .entry .text").textContent === "number 1399"`)
	if got := rows(p); got[499].Text != "number 900" || len(got) != 500 {
		t.Errorf("want the last 500; got %d from %s on", len(got), got[499].Text)
	}
	p.WaitText("unseen", "")
	p.Click("#clear")
	p.Wait(`document.querySelectorAll("#list .entry").length === 0`)
	p.Click("#as-hex")
	for typed, want := range map[string]string{
		"1": "Two digits make a byte; one is missing.", "1g": "“g” is no hexadecimal digit.", "0x01, 02": "2 bytes", "": "Enter sends, Shift and Enter begin a new line.",
	} {
		p.Eval(`(() => { const e = document.getElementById("payload"); e.value = ` + pagetest.Quote(typed) + `; e.dispatchEvent(new Event("input")); })()`)
		p.WaitText("size", want)
	}
	p.Click("#as-text")
	p.Eval(`(() => { const e = document.getElementById("payload"); e.value = "x".repeat(65536); e.dispatchEvent(new Event("input")); })()`)
	p.WaitText("size", "65,536 bytes; a datagram has 65,535 at most.")
	p.Click("#send")
	p.Eval(`(() => { const e = document.getElementById("payload"); e.value = ""; e.focus(); })()`)
	p.Type("by keys\r")
	wants(t, u, "by keys")
	p.WaitText("sent", "1")
	p.Clean()
	r.balance()
}

func TestPageSaysWhyItIsNotIn(t *testing.T) {
	const secret = "sesam öffne dich"
	r := openWebSockets(t, func(r *relay.Options, o *Options) {
		r.Peers.Access = []peers.Rule{rule("any", peers.MayBoth, peers.JoinSecret)}
		o.Secret = []byte(secret)
	})
	p := pagetest.Open(t, fmt.Sprintf("http://%v/", r.addr(peers.WebSocket)), pagetest.Options{})
	p.Click("#connect")
	p.WaitText("connection-text", "secret asked for")
	p.WaitMatch("notice", "^The relay asks for the secret")
	p.Wait(`document.activeElement.id === "secret"`)
	p.Type("wrong\r")
	p.WaitText("connection-text", "refused")
	p.WaitText("notice", "The relay has closed the connection: not the secret of this relay. (1008)")
	p.Eval(`document.getElementById("secret").value = ` + pagetest.Quote(secret))
	p.Click("#connect")
	p.WaitText("connection-text", "connected")
	p.Wait(`document.getElementById("notice").hidden`)
	r.awaitPeers(1)
	r.relay.Peers().Forget(r.relay.Peers().Peers()[0])
	p.WaitText("notice", "The relay has closed the connection: kicked, banned, or not let in by new rules. (1008)")
	p.Click("#connect")
	p.WaitText("connection-text", "connected")
	p.Clean()

	// The gateway goes, and comes again at the same address.
	r.apply(func(o *Options) { o.WebSocket = r.addr(peers.WebSocket).String() })
	p.WaitText("connection-text", "connected")
	p.Clean()
	before := r.ways.WebSocket
	r.apply(func(o *Options) { o.WebSocket = "" })
	p.WaitText("connection-text", "trying again")
	p.WaitMatch("notice", "^The relay has ended the connection: the relay stops|^The relay does not answer")
	p.WaitMatch("notice", "^The relay does not answer.* Trying again, after .* second")
	r.apply(func(o *Options) { o.WebSocket = before })
	p.WaitText("connection-text", "connected")
	p.Forget() // that it was not there is told on the console, too
	r.balance()
}

// A page of another origin opens no WebSocket, one that is listed does.
func TestPagesOfOtherOrigins(t *testing.T) {
	r := openWebSockets(t, nil)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "<!DOCTYPE html><title>other</title><script>const s = new WebSocket('ws://%v/'); s.onopen = () => { document.title = 'open' }; s.onerror = () => { document.title = 'refused' }</script>", r.addr(peers.WebSocket))
	}))
	defer other.Close()
	p := pagetest.Open(t, other.URL, pagetest.Options{})
	p.Wait(`document.title === "refused"`)
	r.awaitEnded(WrongOrigin, 1)
	r.apply(func(o *Options) { o.Origins = []string{other.URL} })
	p.Reload()
	p.Wait(`document.title === "open"`)
	r.awaitPeers(1)
}
