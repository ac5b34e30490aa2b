package pagetest

import (
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Live waits until the page shows what the daemon sends.
func (p *Page) Live() {
	p.t.Helper()
	p.Wait(`document.getElementById("connection").dataset.state === "live" && document.getElementById("listen").textContent !== "–"`)
}

// Gone waits until the page says that the daemon does not answer.
func (p *Page) Gone() {
	p.t.Helper()
	p.Wait(`document.getElementById("connection").dataset.state === "gone"`)
	p.Wait(`!document.getElementById("gone").hidden`)
	p.WaitMatch("gone", `^The daemon does not answer since \d\d:\d\d:\d\d; trying again\.`)
}

// ShowPeers scrolls to the table of peers, which is only asked for where it can
// be seen, and waits for it.
func (p *Page) ShowPeers() {
	p.t.Helper()
	p.Eval(`document.getElementById("peers").scrollIntoView({block: "start"})`)
	p.Wait(`document.getElementById("peer-count").textContent !== ""`)
}

// Addresses returns the addresses in the table, in order.
func (p *Page) Addresses() []string {
	p.t.Helper()
	return Eval[[]string](p, `[...document.querySelectorAll("#peer-rows tr[data-address]")].map((row) => row.dataset.address)`)
}

// Click clicks the element that a CSS selector finds.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.Wait("document.querySelector(%s)", Quote(selector))
	p.do(chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// Search types text into the search instead of what is there, and waits for
// the number of those found.
func (p *Page) Search(text string, matched string) {
	p.t.Helper()
	p.Eval(`(() => { const e = document.getElementById("search"); e.focus(); e.select(); })()`)
	if text == "" {
		p.Type(kb.Delete)
	} else {
		p.Type(text)
	}
	p.Wait(`(new URLSearchParams(location.hash.slice(1)).get("search") ?? "") === %s`, Quote(text))
	p.answered()
	p.WaitMatch("peer-count", matched)
}

// Choose chooses a value of the filter kind or state, as a person does, and
// waits for what it is said to match.
func (p *Page) Choose(filter, option, matched string) {
	p.t.Helper()
	p.Eval(`(() => {
		const e = document.getElementById(` + Quote(filter) + `);
		e.value = ` + Quote(option) + `;
		e.dispatchEvent(new Event("change", {bubbles: true}));
	})()`)
	p.answered()
	p.WaitMatch("peer-count", matched)
}

// answered waits until the table shows what was asked for.
func (p *Page) answered() {
	p.t.Helper()
	p.Wait(`document.getElementById("peers").ariaBusy !== "true"`)
}

// SortBy clicks the head of the column of a field of the API and waits until
// it is sorted so: "ascending" or "descending".
func (p *Page) SortBy(field, direction string) {
	p.t.Helper()
	button := "#peer-head [data-sort=" + field + "]"
	p.Click(button)
	p.Wait("document.querySelector(%s).parentElement.getAttribute('aria-sort') === %s", Quote(button), Quote(direction))
	p.answered()
}

// row is the selector of the row of an address.
func row(address string) string { return "#peer-rows tr[data-address=" + Quote(address) + "]" }

// Details opens the details of a peer that the table shows, and returns their
// text.
func (p *Page) Details(address string) string {
	p.t.Helper()
	p.Click(row(address) + " button")
	p.Wait("document.querySelector(%s)", Quote(row(address)+" + tr.opened .fields dd"))
	return Eval[string](p, "document.querySelector("+Quote(row(address)+" + tr.opened")+").innerText")
}

// Why asks in the open details of a peer why it gets what it gets, and returns
// the answer.
func (p *Page) Why(address string) string {
	p.t.Helper()
	p.Click(row(address) + " + tr.opened button.why")
	answer := Quote(row(address) + " + tr.opened .answer")
	p.Wait("document.querySelector(%s).textContent !== ''", answer)
	return Eval[string](p, "document.querySelector("+answer+").innerText")
}

// Type types keys where the focus is.
func (p *Page) Type(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// Focused describes what has the focus: its tag, id and accessible text.
func (p *Page) Focused() string {
	p.t.Helper()
	return Eval[string](p, `(() => {
		const e = document.activeElement;
		return [e.tagName.toLowerCase(), e.id, e.getAttribute("aria-label") ?? (e.tagName === "BODY" ? "" : e.textContent)].join("|");
	})()`)
}

// TabTo presses Tab until what has the focus matches a CSS selector, and fails
// after most presses. Each that gets the focus on the way must show it.
func (p *Page) TabTo(selector string, most int) {
	p.t.Helper()
	for range most {
		p.Type(kb.Tab)
		at := Eval[struct{ There, Visible bool }](p, `(() => {
			const e = document.activeElement, style = getComputedStyle(e);
			return {
				There: e.matches(`+Quote(selector)+`),
				Visible: e === document.body || (e.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2),
			};
		})()`)
		if !at.Visible {
			p.t.Errorf("the focus cannot be seen on %s", p.Focused())
		}
		if at.There {
			return
		}
	}
	p.t.Fatalf("%d times Tab did not lead to %s, but to %s", most, selector, p.Focused())
}

// Background returns the colour behind the page, as the browser writes it.
func (p *Page) Background() string {
	p.t.Helper()
	return Eval[string](p, "getComputedStyle(document.body).backgroundColor")
}

// Inked returns how many pixels of the charts are drawn on, of each in turn.
func (p *Page) Inked() []int {
	p.t.Helper()
	return Eval[[]int](p, `[...document.querySelectorAll("#charts canvas")].map((c) => {
		// By a copy, for reading the chart itself would slow it down.
		const copy = new OffscreenCanvas(c.width, c.height).getContext("2d", {willReadFrequently: true});
		copy.drawImage(c, 0, 0);
		const data = copy.getImageData(0, 0, c.width, c.height).data;
		let n = 0;
		for (let i = 3; i < data.length; i += 4) if (data[i] > 0) n++;
		return n;
	})`)
}

// DOMNodes returns how many nodes the document has.
func (p *Page) DOMNodes() int {
	p.t.Helper()
	return Eval[int](p, "document.getElementsByTagName('*').length")
}

// Width returns how wide the content is and how wide the window, in CSS pixels:
// if the first is more, the page scrolls sideways.
func (p *Page) Width() (content, window int) {
	p.t.Helper()
	return Eval[int](p, "document.documentElement.scrollWidth"), Eval[int](p, "document.documentElement.clientWidth")
}
