package dashboard

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"udprelay/internal/admin/dashboard/pagetest"
)

// maxNodes bounds the elements of the page, whatever the daemon has.
const maxNodes = 2500

func TestPaging(t *testing.T) {
	s := startStandIn(t, 10_000)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	seen := make(map[string]bool)
	for _, step := range []struct{ button, text string }{
		{"", `^1–100 of 10,000 peers$`}, {"next", `^101–200 of 10,000 peers$`}, {"last", `^9,901–10,000 of 10,000 peers$`},
		{"previous", `^9,801–9,900 of 10,000 peers$`}, {"first", `^1–100 of 10,000 peers$`},
	} {
		if step.button != "" {
			p.Click("#" + step.button)
		}
		p.WaitMatch("peer-count", step.text)
		addresses := p.Addresses()
		if len(addresses) != 100 {
			t.Errorf("%s: %d rows", step.text, len(addresses))
		}
		if n := p.DOMNodes(); n > maxNodes {
			t.Errorf("%s: %d elements, more than %d", step.text, n, maxNodes)
		}
		for _, a := range addresses {
			seen[a] = true
		}
	}
	if len(seen) != 400 {
		t.Errorf("4 pages have %d peers", len(seen))
	}
	p.Click("#last")
	p.WaitMatch("peer-count", `^9,901–`)
	s.change(func() { s.peers = s.peers[:250] }) // that page has gone
	p.WaitText("peer-count", "201–250 of 250 peers")
	p.Clean()
}

func TestSearchAndFilter(t *testing.T) {
	s := startStandIn(t, 10_000)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	p.Search("2001:db8", `^1–10 of 10 that match, of 10,000 peers$`)
	for _, a := range p.Addresses() {
		if !strings.HasPrefix(a, "[2001:db8:") {
			t.Errorf("found %s", a)
		}
	}
	p.Wait(`document.getElementById("announce").textContent === "1–10 of 10 that match, of 10,000 peers"`)
	p.Search("collector-3", `^1–1 of 1 that match`)
	p.Reload() // the search is in the address
	p.Live()
	p.ShowPeers()
	p.WaitMatch("peer-count", `^1–1 of 1 that match`)
	p.Wait(`document.getElementById("search").value === "collector-3"`)
	p.Search("", `^1–100 of 10,000 peers$`)
	p.Choose("state", "quarantined", `^1–20 of 20 that match`)
	p.Choose("kind", "static", `^0 that match`)
	p.WaitText("no-peers", "No peer matches.")
	p.Choose("state", "banned", `^0 that match`)
	p.Choose("state", "", `^1–10 of 10 that match`)
	p.Choose("kind", "", `^1–100 of 10,000 peers$`)

	// Who is no peer has an answer all the same.
	p.Search("192.0.2.7:53", `^0 that match`)
	p.Click("#no-peers button.why")
	p.WaitMatch("no-peers", `It would be relayed to 9,979 peers\.`)
	s.change(func() {
		if s.whys != "192.0.2.7:53" {
			t.Errorf("asked about %q", s.whys)
		}
	})
	p.Clean()
	p.Search("10.9.9.9", `^0 that match`)
	p.Click("#no-peers button.why")
	p.WaitMatch("no-peers", `nobody knows <b>it</b>ask another`)
}

func TestSort(t *testing.T) {
	s := startStandIn(t, 300)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	for field := range orders {
		directions := []string{"descending", "ascending"}
		if field == "address" {
			slices.Reverse(directions)
		}
		for i, direction := range directions {
			if field == "address" && i == 0 {
				p.SortBy("joined", "descending") // from another, for it is the first
			}
			p.SortBy(field, direction)
			var want []string
			s.change(func() {
				sorted := slices.Clone(s.peers)
				slices.SortStableFunc(sorted, func(a, b peer) int {
					if direction == "descending" {
						a, b = b, a
					}
					return orders[field](a, b)
				})
				for _, q := range sorted[:100] {
					want = append(want, pagetest.Quote(q.Address))
				}
			})
			p.Wait(`[...document.querySelectorAll("#peer-rows tr[data-address]")].map((r) => r.dataset.address).join() === [%s].join()`, strings.Join(want, ","))
			sorted := pagetest.Eval[int](p, `document.querySelectorAll("#peer-head [aria-sort=ascending], #peer-head [aria-sort=descending]").length`)
			if sorted != 1 {
				t.Errorf("%d columns are said to be sorted", sorted)
			}
		}
	}
	p.Clean()
}

func TestDetailsOfAConnectedPeer(t *testing.T) {
	s := startStandIn(t, 50)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	connected := p.Details("10.0.0.28:40027")
	for _, part := range []string{"WebSocket with TLS (gateway.websocket)", "by connecting to a gateway", "when its connection ends"} {
		if !strings.Contains(connected, part) {
			t.Errorf("the details of a connected peer lack %q:\n%s", part, connected)
		}
	}
	p.Clean()
}

func TestDetails(t *testing.T) {
	s := startStandIn(t, 50)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	const address = "10.0.0.22:40021"
	text := p.Details(address)
	for _, part := range []string{
		"quarantined: the network says", "send and receive", "by sending a datagram (join: open)", " s, unless it is heard",
		"777 datagrams, 148 kB; 11 datagrams/s", "197 datagrams", "no_buffer 3", "udprelay why " + address,
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\n", " "), part) {
			t.Errorf("the details lack %q:\n%s", part, text)
		}
	}
	if heard := regexp.MustCompile(`Heard\s+20[0-9-]+ [0-9:]+, (\d+ min )?\d+ s ago`); !heard.MatchString(text) {
		t.Errorf("the details do not say when the peer was heard:\n%s", text)
	}
	if answer := p.Why(address); !strings.Contains(answer, "access[1] from private may both: matches") || !strings.Contains(answer, "no_buffer 3, last ") {
		t.Errorf("why: %s", answer)
	}

	// They stay open, and up to date, through what the daemon says next; the
	// focus stays where it is although the row moves.
	p.SortBy("dropped_total", "descending")
	p.Eval(`document.querySelector("tr[data-address='` + address + `'] button").focus()`)
	s.change(func() {
		s.peers[40].Dropped, s.peers[40].DroppedTotal = map[string]uint64{"too_big": 900}, 900
		s.peers[21].Dropped, s.peers[21].DroppedTotal = map[string]uint64{"no_buffer": 500}, 500
	})
	p.Wait(`document.querySelectorAll("#peer-rows tr")[1].dataset.address === %s`, pagetest.Quote(address))
	p.Wait(`document.querySelectorAll("#peer-rows tr")[2].innerText.includes("no_buffer 500")`)
	p.Wait(`document.activeElement.textContent === %s`, pagetest.Quote(address))
	p.Type(kb.Enter)
	p.Wait(`document.querySelectorAll("#peer-rows .opened").length === 0`)

	// A peer that leaves takes its row with it, and the focus goes to the table.
	s.change(func() { s.peers = slices.Delete(s.peers, 21, 22) })
	p.Wait(`document.activeElement.id === "peer-scroll"`)
	p.Clean()
}

// TestPolls sees to it that peers are asked for only while the table can be
// seen, and one answer at a time.
func TestPolls(t *testing.T) {
	s := startStandIn(t, 1000)
	p := pagetest.Open(t, s.url(), pagetest.Options{Width: 800, Height: 500})
	p.Live()
	s.step(77, nil)
	p.WaitText("received-rate", "77")
	if asked := p.Requests("/api/v1/peers"); len(asked) != 0 {
		t.Errorf("asked for peers nobody sees: %q", asked)
	}
	p.ShowPeers()
	asked := func() int { return len(p.Requests("/api/v1/peers")) }
	if asked() == 0 {
		t.Fatal("the test sees no requests")
	}

	release := s.hold()
	before := asked()
	p.Eval(`document.dispatchEvent(new Event("visibilitychange"))`) // one is under way now
	for range 20 {
		p.Eval(`document.dispatchEvent(new Event("visibilitychange"))`)
	}
	if n := asked(); n > before+1 {
		t.Errorf("%d requests at a time", n-before)
	}
	release()

	p.Eval(`Object.defineProperty(document, "hidden", {value: true, configurable: true}); document.dispatchEvent(new Event("visibilitychange"))`)
	p.Eval(`new Promise((done) => setTimeout(done, 100))`)
	before = asked()
	p.Eval(`new Promise((done) => setTimeout(done, 2500))`) // a timer of the page's would have come before this one
	if n := asked(); n != before {
		t.Errorf("a hidden page asked %d times", n-before)
	}
	p.Eval(`delete document.hidden; document.dispatchEvent(new Event("visibilitychange"))`)
	p.Eval(`new Promise((done) => setTimeout(done, 0))`)
	if n := asked(); n != before+1 {
		t.Errorf("shown again, it asked %d times", n-before)
	}
	p.Clean()
}
