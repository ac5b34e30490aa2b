package dashboard

import (
	"testing"

	"udprelay/internal/admin/dashboard/pagetest"
)

func TestLoad(t *testing.T) {
	s := startStandIn(t, 10_000)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.ShowPeers()
	for id, text := range map[string]string{
		"listen": "[::]:9000", "version": "1.4.0", "uptime": "1 d 3 h", "connection-text": "live",
		"peers-all": "10,000", "peers-learned": "9,990 of 10,000", "peers-static": "10", "peers-connected": ", 1 connected", "peers-receivers": "9,980",
		"peers-trouble": "20 quarantined, 2 banned", "received-total": "48,120,334, 9.62 GB", "dropped-total": "66,025",
		"receive-fill": "2.5 %", "receive-of": "209 KiB of 8.00 MiB", "send-fill": "31.3 %",
		"peer-count": "1–100 of 10,000 peers",
	} {
		if got := p.Text(id); got != text {
			t.Errorf("%s is %q, not %q", id, got, text)
		}
	}
	p.Clean()
}

func TestLiveFigures(t *testing.T) {
	s := startStandIn(t, 10)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	empty := p.Inked()
	s.step(1234, map[string]uint64{"no_buffer": 40, "too_big": 10})
	p.WaitText("received-rate", "1,234")
	p.WaitText("received-bytes-rate", "247 kB/s")
	p.WaitText("delivered-rate", "123,400")
	p.WaitText("delivered-bytes-rate", "24.7 MB/s")
	p.WaitText("dropped-rate", "50")
	p.WaitText("dropped-most", "mostly no_buffer (80.0 %)")
	tooBig := `document.querySelector("#drop-rows [data-reason=too_big]").innerText.replace(/\s+/g, " ").trim()`
	p.Wait(`%s === "too_big out 10 10 <0.1 %%"`, tooBig)
	for range 60 {
		s.step(617, nil)
	}
	p.WaitText("received-rate", "617")
	p.WaitText("dropped-rate", "0")
	p.Wait(`%s === "too_big out 10 0 <0.1 %%"`, tooBig)
	for i, n := range p.Inked() {
		if n <= empty[i] {
			t.Errorf("chart %d has %d pixels with traffic, and had %d without", i, n, empty[i])
		}
	}
	p.Wait(`document.querySelector("#chart-datagrams [role=img]").ariaLabel.startsWith("Datagrams in, last 5 min: now 617/s, mean 617/s, highest 1,234/s at ")`)
	p.Click("#chart-data summary")
	p.Wait(`document.querySelectorAll("#chart-data tbody tr").length === 15`)
	p.Wait(`document.querySelector("#chart-data tbody td").textContent === "617/s"`)
	p.Click("#ranges [data-minutes='1']")
	p.Wait(`document.querySelector("#chart-bytes [role=img]").ariaLabel.startsWith("Bytes in, last 1 min: now 123 kB/s")`)
	p.Clean()
}
