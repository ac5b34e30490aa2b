package dashboardtest

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"udprelay/internal/admin/dashboard/pagetest"
)

// The pictures are of a site with a local network and a VPN.
const site = quiet + `
peers:
  static:
  - address: localhost:2055
access:
- {from: 192.168.7.66, may: nothing}
- {from: 10.8.0.0/24, may: receive}
- {from: private}
limits: {peer_datagrams_per_second: 450}
`

// A station is a client of the site, which sends so many datagrams a second on
// average, of about so many bytes. One that sends none keeps alive.
type station struct {
	from       string
	rate, size int
}

var stations = []station{
	{"192.168.7.20", 390, 210}, {"192.168.7.21", 180, 180}, {"192.168.7.22", 75, 320}, {"192.168.7.23", 20, 90}, {"fd00:7::24", 135, 150},
	{"192.168.7.40", 0, 0}, {"192.168.7.41", 0, 0}, {"192.168.7.42", 0, 0}, {"fd00:7::43", 0, 0},
	{"10.8.0.3", 0, 0}, {"10.8.0.4", 0, 0}, {"10.8.0.7", 1, 60}, {"192.168.7.66", 2, 40},
}

// run sends and receives until done is closed.
func (s station) run(t testing.TB, done chan struct{}, running *sync.WaitGroup) {
	relay := "192.168.7.1:9000"
	if net.ParseIP(s.from).To4() == nil {
		relay = "[fd00:7::1]:9000"
	}
	to, err := net.ResolveUDPAddr("udp", relay)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(s.from)}, to)
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { (&client{t, conn}).swallow() })
	running.Go(func() {
		defer conn.Close()
		random := rand.New(rand.NewPCG(1, uint64(s.rate)))
		const tick = 100 * time.Millisecond
		ticks := time.NewTicker(tick)
		defer ticks.Stop()
		for n, owed := 0, 0.0; ; n++ {
			at := float64(n) * tick.Seconds()
			owed += float64(s.rate) * tick.Seconds() * (1 + 0.25*math.Sin(at/(17+float64(s.size)/10)) + 0.1*random.NormFloat64())
			if s.rate == 0 && n%100 == 0 {
				conn.Write(nil)
			}
			for ; owed >= 1; owed-- {
				conn.Write(make([]byte, s.size+random.IntN(s.size)))
			}
			select {
			case <-ticks.C:
			case <-done:
				return
			}
		}
	})
}

// TestPictures takes the pictures of the documentation. Into the directory that
// UDPRELAY_TEST_PICTURES names it takes them after some minutes of traffic:
//
//	UDPRELAY_TEST_PICTURES=$PWD/docs/images go test -run TestPictures ./internal/dashboardtest
//
// Otherwise they are soon taken, and only checked for whether they show something.
func TestPictures(t *testing.T) {
	if !inPrivateNetwork(t) {
		return
	}
	directory, fill := os.Getenv("UDPRELAY_TEST_PICTURES"), 320*time.Second // of the 5 minutes of the charts
	if directory == "" {
		directory, fill = t.TempDir(), 0
	}
	d := newDaemon(t, site)
	d.start(":9000", "127.0.0.1:9001")
	collector, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2055})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	done := make(chan struct{})
	defer running.Wait()
	defer close(done)
	running.Go(func() { (&client{t, collector}).swallow() })
	defer collector.Close()

	light, dark := d.open(pagetest.Options{}), d.open(pagetest.Options{Dark: true})
	phone := d.open(pagetest.Options{Width: 375, Height: 812, Phone: true})
	for _, s := range stations {
		s.run(t, done, &running)
	}
	<-time.After(fill)
	for _, p := range []*pagetest.Page{light, dark, phone} {
		p.WaitText("peers-all", "13")
		p.Wait(`document.querySelectorAll("#drop-rows [data-reason]").length >= 2`)
		p.ShowPeers()
		p.Wait(`document.querySelectorAll("#peer-rows tr[data-address]").length === 13`)
		p.Wait(`[...document.querySelectorAll("#peer-rows td:nth-child(3)")].some((e) => parseFloat(e.textContent) > 50)`)
	}
	for name, p := range map[string]*pagetest.Page{"dashboard-light.png": light, "dashboard-dark.png": dark, "dashboard-phone.png": phone} {
		p.Eval(`scrollTo(0, 0)`)
		keep(t, p, filepath.Join(directory, name))
	}
	light.SortBy("dropped_total", "descending")
	noisy := light.Addresses()[0]
	light.Details(noisy)
	light.Why(noisy)
	light.Eval(`document.activeElement.blur(); document.getElementById("peers").scrollIntoView({block: "start"})`)
	keep(t, light, filepath.Join(directory, "dashboard-peers.png"))
	for _, p := range []*pagetest.Page{light, dark, phone} {
		p.Clean()
	}
}

// keep writes a picture of the page to a file, and fails if it shows nothing.
func keep(t testing.TB, p *pagetest.Page, name string) {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(p.Screenshot(false)))
	if err != nil {
		t.Fatal(err)
	}
	small, colours := paletted(picture)
	if colours < 20 {
		t.Errorf("%s has no more than %d colours", filepath.Base(name), colours)
	}
	var file bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&file, small); err != nil {
		t.Fatal(err)
	}
	if file.Len() > 150_000 {
		t.Errorf("%s has %d bytes, too many to be read over a slow line", filepath.Base(name), file.Len())
	}
	if err := os.WriteFile(name, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// paletted returns a picture in 256 of its colours, the others being the nearest
// of these, and how many colours there were. They are the most frequent ones
// that the eye tells from each other, or a few green words would turn grey.
func paletted(picture image.Image) (*image.Paletted, int) {
	bounds := picture.Bounds()
	frequency := make(map[color.RGBA]int)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			frequency[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(frequency), func(a, b color.RGBA) int { return cmp.Compare(frequency[b], frequency[a]) })
	var palette color.Palette
	for _, c := range colours {
		if len(palette) < 256 && !slices.ContainsFunc(palette, func(had color.Color) bool { return alike(c, had.(color.RGBA)) }) {
			palette = append(palette, c)
		}
	}
	small := image.NewPaletted(bounds, palette)
	draw.Draw(small, bounds, picture, bounds.Min, draw.Src)
	return small, len(colours)
}

func alike(a, b color.RGBA) bool {
	apart := func(x, y uint8) int { return max(int(x)-int(y), int(y)-int(x)) }
	return max(apart(a.R, b.R), apart(a.G, b.G), apart(a.B, b.B)) < 10
}
