package gateway

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"udprelay/internal/admin/dashboard/pagetest"
	"udprelay/relay"
)

// TestPicturesOfThePage sees to it that the page looks as it should at the sizes
// of the documentation. Where a directory is named, its pictures are written
// there:
//
//	UDPRELAY_TEST_PICTURES=$PWD/docs/images go test -run TestPicturesOfThePage ./internal/gateway
func TestPicturesOfThePage(t *testing.T) {
	r := openWebSockets(t, func(_ *relay.Options, o *Options) { o.Path = "/relay" })
	u, drone := r.udp(), r.udp()
	for name, options := range map[string]pagetest.Options{
		"gateway-page.png":  {Width: 1100, Height: 620},
		"gateway-phone.png": {Width: 390, Height: 844, Phone: true, Dark: true},
	} {
		p := r.join(options)
		for i, payload := range []string{
			"\xfd\x09\x00\x00\x4e\x01\x01\x00\x00\x00\x00\x00\x00\x00\x02\x03\x51\x03\x03\x5b\x3c", "/cue/12/start\x00\x00\x00,\x00\x00\x00",
			"position 52.5163 13.3777 34.2", "position 52.5164 13.3779 34.4", `{"speed": 217, "gear": 6, "rpm": 11840}`, "ready, who else?",
		} {
			[]*udpTalker{drone, u}[i%2].say(payload)
			p.WaitText("received", fmt.Sprint(i+1))
		}
		sendByPage(p, "text", "hello from a browser")
		p.WaitText("sent", "1")
		p.Wait(`document.querySelectorAll("#list .entry").length === 7`)
		p.Eval(`document.activeElement.blur()`)
		picture := small(t, p.Screenshot(false))
		if directory := os.Getenv("UDPRELAY_TEST_PICTURES"); directory != "" {
			if err := os.WriteFile(filepath.Join(directory, name), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if content, window := p.Width(); content > window {
			t.Errorf("%s: the page is %d wide in a window of %d", name, content, window)
		}
		p.Clean()
		p.Click("#connect")
		r.awaitPeers(2)
	}
	r.balance()
}

// small returns a picture with its 256 most frequent colours, of which the page
// has few and their edges the others.
func small(t *testing.T, picture []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	bounds := full.Bounds()
	frequency := make(map[color.RGBA]int)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			frequency[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	var palette color.Palette
	for _, c := range slices.SortedFunc(maps.Keys(frequency), func(a, b color.RGBA) int { return cmp.Compare(frequency[b], frequency[a]) }) {
		if len(palette) < 256 {
			palette = append(palette, c)
		}
	}
	if len(palette) < 8 {
		t.Errorf("want a picture of the page; got one of %d colours", len(palette))
	}
	reduced := image.NewPaletted(bounds, palette)
	draw.Draw(reduced, bounds, full, bounds.Min, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, reduced); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
