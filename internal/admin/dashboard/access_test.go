package dashboard

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"udprelay/internal/admin/dashboard/pagetest"
)

func TestTheme(t *testing.T) {
	s := startStandIn(t, 5)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	const light, dark = "rgb(244, 246, 248)", "rgb(18, 22, 27)"
	background := func(when, want string) {
		t.Helper()
		if got := p.Background(); got != want {
			t.Errorf("%s: %s, not %s", when, got, want)
		}
	}
	background("at first", light)
	p.Click("#theme")
	p.WaitText("theme", "Theme: dark")
	background("chosen dark", dark)
	p.Reload()
	p.Live()
	p.WaitText("theme", "Theme: dark")
	background("remembered", dark)
	p.Click("#theme")
	p.WaitText("theme", "Theme: auto")
	background("auto again", light)
	p.Clean()

	p = pagetest.Open(t, s.url(), pagetest.Options{Dark: true})
	p.Live()
	background("on a dark system", dark)
	p.Click("#theme")
	p.WaitText("theme", "Theme: light")
	background("chosen light", light)
	p.Clean()
}

// TestKeyboard uses nothing but keys.
func TestKeyboard(t *testing.T) {
	s := startStandIn(t, 300)
	p := pagetest.Open(t, s.url(), pagetest.Options{StillMotion: true})
	p.Live()
	p.TabTo(".skip", 1)
	p.TabTo("#pause", 5)
	p.TabTo("#theme", 1)
	p.Type(" ")
	p.WaitText("theme", "Theme: dark")
	p.TabTo("#ranges [data-minutes='15']", 3)
	p.Type(kb.Enter)
	p.Wait(`document.querySelector("#chart-bytes [role=img]").ariaLabel.includes("last 15 min")`)
	p.TabTo("#chart-data summary", 1)
	p.Type(kb.Enter)
	p.Wait(`document.querySelectorAll("#chart-data tbody tr").length === 15`)

	p.Reload()
	p.Live()
	p.TabTo(".skip", 1)
	p.Type(kb.Enter)
	p.Wait(`document.activeElement.id === "peers"`)
	p.TabTo("#search", 1)
	p.Type("10.0.0.2")
	p.WaitMatch("peer-count", `^1–11 of 11 that match`) // .2:, .20: to .29:
	p.TabTo("#kind", 1)
	p.Type("s")
	p.WaitMatch("peer-count", `^0 that match`)
	p.Type(kb.Home)
	p.WaitMatch("peer-count", `^1–11 of 11 that match`)
	p.TabTo("#peer-head [data-sort=received_rate]", 5)
	p.Type(kb.Enter)
	p.Wait(`document.activeElement.parentElement.ariaSort === "descending"`)
	p.Type(" ")
	p.Wait(`document.activeElement.parentElement.ariaSort === "ascending"`)
	p.TabTo("#peer-rows button.address", 8)
	p.Type(kb.Enter)
	p.Wait(`document.activeElement.ariaExpanded === "true"`)
	p.TabTo("button.why", 1)
	p.Type(kb.Enter)
	p.Wait(`document.querySelector(".answer").innerText.includes("It would be relayed")`)
	p.Wait(`document.activeElement.matches("button.why")`)
	p.TabTo("#first", 12)
	p.TabTo("#last", 3)
	p.Clean()
}

// TestNames sees to it that a screen reader has a name for all that can be used
// or looked at.
func TestNames(t *testing.T) {
	s := startStandIn(t, 30)
	s.step(100, map[string]uint64{"rule": 1})
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	p.Details("10.0.0.22:40021")
	p.Why("10.0.0.22:40021")
	nodes := p.Nodes()
	need := []string{"button", "link", "searchbox", "combobox", "image", "img", "region", "table", "heading", "navigation", "search", "columnheader", "rowheader", "figure", "DisclosureTriangle"}
	for _, n := range nodes {
		if slices.Contains(need, n.Role) && strings.TrimSpace(n.Name) == "" {
			t.Errorf("a %s has no name", n.Role)
		}
	}
	for _, want := range []pagetest.Node{
		{Role: "heading", Name: "udprelay"}, {Role: "heading", Name: "Now"}, {Role: "heading", Name: "Peers"}, {Role: "heading", Name: "Drops by reason"},
		{Role: "link", Name: "Skip to the peers"}, {Role: "button", Name: "Pause"}, {Role: "button", Name: "Theme: auto"},
		{Role: "searchbox", Name: "Search by address or name"}, {Role: "combobox", Name: "Kind"}, {Role: "combobox", Name: "State"},
		{Role: "table", Name: "Peers"}, {Role: "table", Name: "Rules of access"}, {Role: "table", Name: "Drops by reason"},
		{Role: "button", Name: "Drops: Datagrams dropped from it and to it"}, {Role: "button", Name: "10.0.0.22:40021"},
		{Role: "navigation", Name: "Pages of peers"}, {Role: "button", Name: "Next"},
	} {
		if !slices.Contains(nodes, want) {
			t.Errorf("there is no %s named %q", want.Role, want.Name)
		}
	}
	charts := 0
	for _, n := range nodes {
		if (n.Role == "image" || n.Role == "img") && strings.Contains(n.Name, ", last 5 min: now ") && strings.Contains(n.Name, ", highest ") {
			charts++
		}
	}
	if charts != 4 {
		t.Errorf("%d charts say what they show", charts)
	}
	p.Clean()
}

// TestPhone sees to it that a narrow page does not scroll sideways.
func TestPhone(t *testing.T) {
	s := startStandIn(t, 1000)
	s.change(func() { s.peers[0].Address = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535" })
	p := pagetest.Open(t, s.url(), pagetest.Options{Width: 360, Height: 740, Phone: true})
	p.Live()
	p.ShowPeers()
	p.Choose("state", "quarantined", `^1–2 of 2 that match`)
	p.Details(p.Addresses()[0])
	p.Why(p.Addresses()[0])
	p.Choose("state", "", `^1–100 of 1,000 peers`)
	if content, window := p.Width(); content > window || window != 360 {
		t.Errorf("the page is %d wide in a window of %d", content, window)
	}
	const fits = `document.getElementById("peer-scroll").scrollWidth <= document.getElementById("peer-scroll").clientWidth`
	if !pagetest.Eval[bool](p, fits) {
		t.Error("the table of peers does not fit")
	}
	p.Clean()
}

// TestStrangers has everything that comes from the network try to be markup.
func TestStrangers(t *testing.T) {
	s := startStandIn(t, 30)
	const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	s.change(func() {
		s.peers[7].Name, s.peers[7].JoinedBy, s.peers[7].May, s.peers[7].State = evil, evil, evil, evil
		s.peers[7].Dropped, s.peers[7].DroppedTotal = map[string]uint64{evil: 5}, 5
		s.rules[0].From, s.rules[0].May, s.rules[0].Join = evil, evil, evil
		s.drops[evil], s.drops["__proto__"], s.drops["constructor"] = 7, 8, 9
		s.version = evil
		s.talks = []talk{{evil, evil, 5000}}
	})
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	p.WaitText("version", evil)
	p.Wait(`document.querySelector("#rule-rows td").textContent === %s`, pagetest.Quote(evil))
	p.Wait(`document.querySelector("#drop-rows [data-reason=constructor]").textContent.startsWith("constructor")`)
	p.WaitText("talk-list", evil+" and "+evil+" (5,000 times per second)")
	p.Details("10.0.0.8:40007")
	if n := pagetest.Eval[int](p, `document.querySelectorAll("img").length`); n != 0 {
		t.Errorf("%d pictures", n)
	}
	p.WaitMatch("peer-rows", "onerror=")
	if title := pagetest.Eval[string](p, "document.title"); title != "udprelay [::]:9000" {
		t.Errorf("the title is %q", title)
	}
	p.Clean()
}

func TestFormats(t *testing.T) {
	s := startStandIn(t, 1)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	for _, c := range []struct{ call, want string }{
		{"rate(0)", "0"}, {"rate(0.01)", "<0.1"}, {"rate(0.3)", "0.3"}, {"rate(9.94)", "9.9"}, {"rate(9.96)", "10"}, {"rate(12345.6)", "12,346"}, {"rate(12345678)", "12.3 M"},
		{"count(1234567)", "1,234,567"}, {"count(undefined)", "0"}, {"datagrams(1)", "1 datagram"}, {"datagrams(1200)", "1,200 datagrams"},
		{"bytes(0)", "0 B"}, {"bytes(999)", "999 B"}, {"bytes(1000)", "1.00 kB"}, {"bytes(123456)", "123 kB"}, {"bytes(999999)", "1.00 MB"}, {"bytes(5e15)", "5.00 PB"},
		{"memory(8388608)", "8.00 MiB"}, {"memory(1023)", "1,023 B"}, {"short(1500)", "1.5k"}, {"short(0)", "0"}, {"short(2e9)", "2G"},
		{"share(0, 0)", "0 %"}, {"share(1, 3)", "33.3 %"}, {"share(1, 1e6)", "<0.1 %"}, {"share(999999, 1e6)", ">99.9 %"}, {"share(5, 5)", "100 %"},
		{"duration(0)", "0 s"}, {"duration(306)", "5 min 6 s"}, {"duration(86400)", "1 d 0 h"}, {"duration(7261.9)", "2 h 1 min"},
		{"age(59.9)", "59 s"}, {"age(-3)", "0 s"}, {"age(7200)", "2 h"}, {"age(864000)", "10 d"},
		{"time(0.00025)", "0.25 ms"}, {"time(0.0123)", "12.3 ms"}, {"time(0.9994)", "999 ms"}, {"time(0.9996)", "1.00 s"}, {"time(61)", "61.0 s"},
		{"clock(new Date(2026, 0, 2, 3, 4, 5))", "03:04:05"}, {"moment(new Date(2026, 0, 2, 3, 4, 5))", "2026-01-02 03:04:05"},
	} {
		name, _, _ := strings.Cut(c.call, "(")
		got := pagetest.Eval[json.RawMessage](p, `import("/assets/format.js").then(({`+name+`}) => `+c.call+`)`)
		if string(got) != pagetest.Quote(c.want) {
			var text string
			if json.Unmarshal(got, &text) != nil || text != c.want {
				t.Errorf("%s is %s, not %q", c.call, got, c.want)
			}
		}
	}
}
