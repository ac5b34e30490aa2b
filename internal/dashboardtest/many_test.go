package dashboardtest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"golang.org/x/net/ipv4"

	"udprelay/internal/admin/dashboard/pagetest"
	"udprelay/internal/testwait"
)

const (
	manyPeers = 10_000
	manyPorts = 40 // at each of the addresses 127.1.0.0 and up

	// mostNodes bounds the elements of the page, and pageOfPeers its rows,
	// whatever the daemon has.
	mostNodes   = 2500
	pageOfPeers = 100
)

// manyConfiguration has room for them, though they are all on this machine.
var manyConfiguration = fmt.Sprintf(`
admin: {socket: none}
state: {file: none}
peers: {max: %d, max_per_address: 0, joins_per_second: 0, joins_per_second_per_address: 0}
`, manyPeers)

// crowd is sockets that have many addresses each.
type crowd struct {
	t     testing.TB
	d     *daemon
	ports []*ipv4.PacketConn
}

func newCrowd(t testing.TB, d *daemon) crowd {
	t.Helper()
	c := crowd{t: t, d: d}
	for range manyPorts {
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c.ports = append(c.ports, ipv4.NewPacketConn(conn))
	}
	return c
}

// at is the address of member i.
func (c crowd) at(i int) (net.IP, int) {
	n := i / manyPorts
	return net.IPv4(127, 1, byte(n>>8), byte(n)), c.ports[i%manyPorts].LocalAddr().(*net.UDPAddr).Port
}

func (c crowd) address(i int) string {
	ip, port := c.at(i)
	return fmt.Sprintf("%s:%d", ip, port)
}

// write sends a datagram from member i.
func (c crowd) write(i int, payload []byte) {
	c.t.Helper()
	ip, _ := c.at(i)
	if _, err := c.ports[i%manyPorts].WriteTo(payload, &ipv4.ControlMessage{Src: ip}, net.UDPAddrFromAddrPort(c.d.relay)); err != nil {
		c.t.Fatal(err)
	}
}

// awaitReceived waits until the relay has so many datagrams.
func (c crowd) awaitReceived(n int) {
	c.t.Helper()
	browser := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testwait.Patience}
	var status struct{ Counters struct{ Received int } }
	testwait.Until(c.t, func() bool {
		answer, err := browser.Get(c.d.page + "api/v1/status")
		if err != nil {
			c.t.Fatal(err)
		}
		err = json.NewDecoder(answer.Body).Decode(&status)
		answer.Body.Close()
		if err != nil {
			c.t.Fatal(err)
		}
		return status.Counters.Received >= n
	}, func() string { return fmt.Sprintf("the relay has %d of %d datagrams", status.Counters.Received, n) })
}

// TestTenThousandPeers sees to it that the page of a full relay stays small:
// its elements, its questions and their answers.
func TestTenThousandPeers(t *testing.T) {
	d := startDaemon(t, manyConfiguration)
	p := d.open(pagetest.Options{})
	p.Eval(`window.longTasks = []; new PerformanceObserver((list) => {
		for (const e of list.getEntries()) longTasks.push(e.duration);
	}).observe({type: "longtask", buffered: true})`)
	p.ShowPeers()
	c := newCrowd(t, d)
	for i := range manyPeers {
		c.write(i, nil)
		if i%500 == 499 { // so that what waits in the kernel stays small
			c.awaitReceived(i + 1)
		}
	}
	p.WaitText("peers-all", "10,000")
	p.WaitText("peers-learned", "10,000 of 10,000")
	p.WaitText("peer-count", "1–100 of 10,000 peers")
	stranger := newClient(t, d, "127.0.0.9") // for whom there is no room
	stranger.write(nil)
	p.Wait(`document.querySelector("#drop-rows [data-reason=table_full]")?.children[1].textContent === "1"`)

	small := func(when string, rows int) {
		t.Helper()
		if n := len(p.Addresses()); n != rows {
			t.Errorf("%s: %d rows, want %d", when, n, rows)
		}
		if n := p.DOMNodes(); n > mostNodes {
			t.Errorf("%s: %d elements, more than %d", when, n, mostNodes)
		}
	}
	small("the first page", pageOfPeers)
	for range 100 { // each to 9,999 others
		c.write(0, make([]byte, 200))
	}
	p.WaitText("received-total", "10,101, 20.0 kB")
	p.WaitText("delivered-total", "999,900, 200 MB")

	seen := map[string]bool{}
	for _, step := range []struct{ button, text string }{
		{"first", `^1–100 of 10,000 peers$`}, {"next", `^101–200 of 10,000 peers$`},
		{"last", `^9,901–10,000 of 10,000 peers$`}, {"previous", `^9,801–9,900 of 10,000 peers$`},
	} {
		p.Click("#" + step.button)
		p.WaitMatch("peer-count", step.text)
		small(step.text, pageOfPeers)
		for _, address := range p.Addresses() {
			seen[address] = true
		}
	}
	if len(seen) != 4*pageOfPeers {
		t.Errorf("4 pages have %d peers", len(seen))
	}
	p.Click("#last") // sorted by address, the highest are here
	p.Wait(`[...document.querySelectorAll("#peer-rows tr[data-address]")].at(-1).dataset.address.startsWith("127.1.0.249:")`)

	wanted := c.address(7654)
	began := time.Now()
	p.Search(wanted, `^1–1 of 1 that match, of 10,000 peers$`)
	t.Logf("a search took %v, of which 200 ms wait for more keys", time.Since(began).Round(time.Millisecond))
	small("the search", 1)
	if found := p.Addresses(); found[0] != wanted {
		t.Errorf("found %s, not %s", found[0], wanted)
	}
	detailsSay(p, wanted, "From it 1 datagram, 0 B", "To it 100 datagrams, 20.0 kB")
	p.Why(wanted)
	p.Search("", `^1–100 of 10,000 peers$`)
	p.SortBy("received_rate", "descending")
	small("sorted", pageOfPeers)

	for _, request := range p.Requests("/api/v1/peers") {
		asked, err := url.Parse(request)
		if err != nil {
			t.Fatal(err)
		}
		if limit := asked.Query().Get("limit"); limit != fmt.Sprint(pageOfPeers) {
			t.Errorf("%s asks for another number of peers", request)
		}
	}
	const longest = `performance.getEntriesByType("resource").filter((e) => e.name.includes("/api/v1/peers")).map((e) => [e.transferSize, e.duration])`
	for _, answer := range pagetest.Eval[[][2]float64](p, longest) {
		if answer[0] > 100_000 {
			t.Errorf("an answer has %.0f bytes", answer[0])
		}
	}
	heap := pagetest.Call(p, runtime.GetHeapUsage, cdp.Empty{})
	t.Logf("the page has %d elements, %.1f MB of JavaScript heap, tasks of more than 50 ms: %v; answers of %s",
		p.DOMNodes(), heap.UsedSize/1e6, pagetest.Eval[[]float64](p, "longTasks"),
		pagetest.Eval[string](p, `((all) => Math.max(...all.map((e) => e[0])) + " bytes at most, in " + Math.max(...all.map((e) => e[1])).toFixed(1) + " ms at most")(`+longest+`)`))
	p.Clean()
}
