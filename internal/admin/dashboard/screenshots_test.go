package dashboard

import (
	"bytes"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"udprelay/internal/admin/dashboard/pagetest"
)

// TestScreenshots takes pictures of what the page looks like, for people to
// look at: into the directory that UDPRELAY_TEST_SCREENSHOTS names, if any.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("UDPRELAY_TEST_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	shoot := func(p *pagetest.Page, name string, full bool) {
		t.Helper()
		picture := p.Screenshot(full)
		decoded, err := png.Decode(bytes.NewReader(picture))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if colours := coloursOf(decoded); colours < 20 {
			t.Errorf("%s has no more than %d colours", name, colours)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := startStandIn(t, 10_000)
	s.step(1800, nil)
	light := pagetest.Open(t, s.url(), pagetest.Options{})
	dark := pagetest.Open(t, s.url(), pagetest.Options{Dark: true})
	phone := pagetest.Open(t, s.url(), pagetest.Options{Width: 360, Height: 740, Phone: true})
	pages := []*pagetest.Page{light, dark, phone}
	for _, p := range pages {
		p.Live()
		p.ShowPeers()
	}
	random := rand.New(rand.NewPCG(1, 2))
	traffic := func(seconds int) {
		for i := range seconds {
			n := 1800 + 500*math.Sin(float64(i)/70) + 160*random.NormFloat64()
			if i%211 > 190 {
				n *= 1.9
			}
			drops := map[string]uint64{"rule": uint64(random.IntN(30)), "quarantined": 40}
			if i%211 > 190 {
				drops["no_buffer"] = uint64(random.IntN(900))
			}
			s.step(uint64(max(n, 0)), drops)
		}
	}
	traffic(255)
	for _, p := range pages {
		p.WaitMatch("received-rate", `^\d,\d\d\d$`)
	}
	shoot(phone, "phone", false)
	phone.Eval(`scrollTo(0, 0)`)
	shoot(phone, "phone-top", false)
	shoot(phone, "phone-full", true)
	for _, p := range []*pagetest.Page{light, dark} {
		p.SortBy("dropped_total", "descending")
		p.Wait(`document.querySelector("#peer-rows .state").textContent === "quarantined"`)
		p.Details(p.Addresses()[1])
		p.Why(p.Addresses()[1])
	}
	shoot(light, "peers", false)
	shoot(dark, "peers-dark", false)
	for _, p := range []*pagetest.Page{light, dark} {
		p.Eval(`scrollTo(0, 0)`)
	}
	shoot(light, "light", false)
	shoot(dark, "dark", false)

	s.stop()
	for _, p := range pages {
		p.Gone()
	}
	shoot(light, "gone", false)
	shoot(phone, "phone-gone", false)
	s.change(func() { s.pass(40 * time.Second) })
	s.restart()
	for _, p := range pages {
		p.Live()
	}
	traffic(100)
	light.WaitMatch("received-rate", `^\d,\d\d\d$`)
	shoot(light, "gap", false)
}
