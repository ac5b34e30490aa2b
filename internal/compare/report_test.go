package main

import (
	"flag"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/bench"
)

var update = flag.Bool("update", false, "write what came out as what is wanted")

// golden compares got with the file name in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// fixed returns a report of three rounds.
func fixed() *report {
	r := &report{System: "Linux 6.18, a processor", Rounds: 3, Seconds: 2, Notes: []string{"`socat` was left out."}, Relays: map[string]string{}}
	for _, c := range candidates(programs{}) {
		r.Relays[c.name] = c.about
	}
	add := func(scenario, relay string, out, cost [3]float64, late [3]time.Duration, limit bool) {
		for round := range 3 {
			result := bench.Result{DeliveredPerSecond: out[round], Rate: 288, Process: &bench.Process{PerDelivery: cost[round]}, Generator: bench.Generator{Limit: limit}}
			if late[round] > 0 {
				result.Latency = &bench.Times{P50: late[round] / 2, P99: late[round]}
				result.Spread = &bench.Times{P50: late[round] / 4}
			}
			if relay == "plainloop" {
				result.LossRatio = 0.25
			}
			r.Runs = append(r.Runs, benchRun{scenario, relay, round, result})
		}
	}
	var none [3]time.Duration
	// The machine was slower in the second round; ratios do not see it.
	add("burst", "plainloop", [3]float64{300_000, 150_000, 310_000}, [3]float64{3600, 7200, 3500}, none, false)
	add("burst", limitGSO, [3]float64{2_600_000, 1_300_000, 2_620_000}, [3]float64{400, 800, 401}, none, true)
	add("burst", ours, [3]float64{2_600_000, 1_300_000, 2_500_000}, [3]float64{410, 820, 405}, none, false)
	add("mixed", ours, [3]float64{400_000, 399_000, 401_000}, [3]float64{2300, 2301, 2302}, none, false)
	add("mixed", limitMMsg, [3]float64{500_000, 500_000, 500_000}, [3]float64{2900, 2901, 2902}, none, false)
	late := [3]time.Duration{400 * time.Microsecond, 420 * time.Microsecond, 90 * time.Millisecond}
	add("latency", ours, [3]float64{28_800, 28_800, 28_800}, [3]float64{3000, 3000, 3000}, late, false)
	late[1] = 840 * time.Microsecond
	add("latency", plainWay, [3]float64{28_800, 28_800, 28_800}, [3]float64{2900, 2900, 2900}, late, false)
	return r
}

func fixedSize() *report {
	s := &size{}
	for i, n := range []int{1, 10, 100, 1000, 10_000} {
		s.Receivers = append(s.Receivers, cost{n, []float64{400 * float64(n), 410 * float64(n), 420*float64(n) + 1000}})
		s.Senders = append(s.Senders, cost{10 * n, []float64{800 + float64(i), 810, 820}})
	}
	for _, n := range []int{1000, 10_000, 100_000} {
		ms := func(factor float64) []float64 { return []float64{float64(n) * 1e-6 * factor} }
		s.Crowds = append(s.Crowds, crowd{n, ms(2), ms(30), []float64{0.01}, ms(1), ms(3), ms(4), ms(0.5), []float64{15e6 + 400*float64(n)}, []float64{80 * float64(n)}})
	}
	return &report{System: "Linux 6.18, a processor", Rounds: 3, Seconds: 2, Size: s}
}

func fixedLink() *report {
	l := &link{Alone: []alone{
		{Sealed: false, PerSecond: []float64{5_000_000, 5_100_000, 4_900_000}, Hop: []float64{18_000, 19_000, 18_500}},
		{Sealed: true, PerSecond: []float64{3_400_000, 3_300_000, 3_500_000}, Hop: []float64{20_000, 21_000, 20_500}},
	}}
	for _, load := range linkLoads {
		for i, way := range linkWays {
			for round := range 3 {
				result := bench.Result{DeliveredPerSecond: float64(400_000 - 50_000*i + round), LossRatio: 0.01 * float64(i)}
				if load.latency {
					result.Latency = &bench.Times{P50: time.Duration(100+50*i+round) * time.Microsecond, P99: time.Duration(300+100*i) * time.Microsecond}
				}
				l.Runs = append(l.Runs, benchRun{load.Name, way, round, result})
			}
		}
	}
	return &report{System: "Linux 6.18, a processor", Rounds: 3, Seconds: 2, Link: l}
}

func TestFigures(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   figure
	}{
		{[]float64{7}, figure{7, 7, 7, 1}},
		{[]float64{9, 1}, figure{5, 1, 9, 2}},
		{[]float64{3, 1, 2}, figure{2, 1, 3, 3}},
		{[]float64{5, 1, 2, 100}, figure{3.5, 1, 100, 4}},
	} {
		before := slices.Clone(test.values)
		if got := of(test.values); got != test.want || !slices.Equal(before, test.values) {
			t.Errorf("%v: want %v, got %v, and then %v", before, test.want, got, test.values)
		}
	}
	if none := of(nil); none.Rounds != 0 || !math.IsNaN(none.Median) {
		t.Errorf("want no figure of nothing, got %v", none)
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	r := fixed()
	if got := r.ratio("burst", ours, limitGSO, deliveries); got != (figure{1, 2_500_000.0 / 2_620_000, 1, 3}) {
		t.Errorf("want ratios of 0.954 to 1, got %v", got)
	}
	r.Runs = slices.DeleteFunc(r.Runs, func(run benchRun) bool { return run.Relay == limitGSO && run.Round > 0 })
	if got := r.ratio("burst", ours, limitGSO, deliveries); got != (figure{1, 1, 1, 1}) {
		t.Errorf("want the ratio of the round that has both, got %v", got)
	}
	if got := r.ratio("burst", ours, "nobody", deliveries); got.Rounds != 0 {
		t.Errorf("want no ratio, got %v", got)
	}
}

func TestTablesOfRelays(t *testing.T) { golden(t, "compare.md", fixed().markdown("images")) }

func TestTablesOfSize(t *testing.T) { golden(t, "size.md", fixedSize().sizeMarkdown("images")) }

func TestTablesOfTheLink(t *testing.T) { golden(t, "link.md", fixedLink().linkMarkdown()) }

func TestPlots(t *testing.T) {
	both := fixed()
	both.Size = fixedSize().Size
	plots, err := both.plots()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{comparePlot, costPlot, crowdPlot} {
		golden(t, name, string(plots[name]))
	}
	few := fixed()
	few.Runs = []benchRun{{Scenario: "one", Relay: ours, Result: bench.Result{DeliveredPerSecond: 3}}}
	if plots, err = few.plots(); err != nil || len(plots) != 1 || !strings.Contains(string(plots[comparePlot]), "one: deliveries/s") {
		t.Errorf("want one plot of the only scenario, got %d, %v", len(plots), err)
	}
}

func TestAClaimHoldsAtItsLimit(t *testing.T) {
	for _, c := range claims {
		for _, test := range []struct {
			ratio float64
			want  bool
		}{{c.limit, true}, {c.limit + 0.01, !c.most}, {c.limit - 0.01, c.most}, {math.NaN(), false}} {
			if got := c.holds(test.ratio); got != test.want {
				t.Errorf("%s, %s, %v: want %v, got %v", c.scenario, c.what, test.ratio, test.want, got)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01234: "0.0123", 1: "1.00", 12.345: "12.3", 99.94: "99.9", 99.96: "100", 100: "100", 1234.5: "1,234", 1e6: "1,000,000", -1234: "-1,234", math.Inf(1): "–"} {
		if got := number(v); got != want {
			t.Errorf("%v: want %s, got %s", v, want, got)
		}
	}
	for v, want := range map[float64]float64{0: 0, 123_456: 123_000, 2_609_037: 2_610_000, 12.349: 12.3} {
		if got := rounded(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: want %v, got %v", v, want, got)
		}
	}
}

func TestTicksAreFewAndRound(t *testing.T) {
	for _, most := range []float64{0.7, 1, 35, 999, 4000, 2_600_000} {
		ticks := fewTicks(0, most)
		if len(ticks) < 3 || len(ticks) > 11 || ticks[0].Value != 0 {
			t.Errorf("up to %v: want three to eleven ticks from 0 on, got %v", most, ticks)
		}
	}
	var labels []string
	for _, tick := range powers(0.1, 1000) {
		labels = append(labels, tick.Label)
	}
	if want := []string{"0.1", "1", "10", "100", "1,000"}; !slices.Equal(labels, want) {
		t.Errorf("want %v, got %v", want, labels)
	}
}

func TestEachRoundBeginsWithAnother(t *testing.T) {
	list := []candidate{{name: "a"}, {name: "b"}, {name: "c"}}
	var got []string
	for round := range 4 {
		text := ""
		for _, c := range turns(list, round) {
			text += c.name
		}
		got = append(got, text)
	}
	if want := []string{"abc", "bca", "cab", "abc"}; !slices.Equal(got, want) {
		t.Errorf("want %v, got %v", want, got)
	}
	if turns(nil, 3) != nil {
		t.Error("want no turn of nobody")
	}
}

func TestRelaysThatAreThere(t *testing.T) {
	receivers := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:20001"), netip.MustParseAddrPort("127.0.0.1:20002")}
	for _, test := range []struct {
		programs
		name, want string
	}{
		{programs{samplicator: "samplicate"}, "samplicator", "samplicate -4 -b 212992 -s 127.0.0.1 -p 20000 127.0.0.1/20001 127.0.0.1/20002"},
		{programs{gstreamer: "gst"}, "gstreamer", "gst -q udpsrc address=127.0.0.1 port=20000 ! multiudpsink sync=false async=false clients=127.0.0.1:20001,127.0.0.1:20002"},
		{programs{socat: "socat"}, "socat", "socat -u UDP4-RECV:20000,bind=127.0.0.1 UDP4-SENDTO:127.0.0.1:20001"},
		{programs{limitrelay: "limit"}, limitGSO, "limit 20000 gso 64"},
		{programs{limitrelay: "limit"}, plainWay, "limit 20000 plain 1"},
		{programs{udprelay: "u", senders: true}, "senders-2", strings.Join(serveCommand("u", 20000), " ") + " --senders 2"},
	} {
		found, err := choose(candidates(test.programs), func(c candidate) string { return c.name }, []string{test.name}, "relay")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(found[0].command(20000, receivers), " "); got != test.want {
			t.Errorf("want %s, got %s", test.want, got)
		}
	}
	if _, err := choose(candidates(programs{}), func(c candidate) string { return c.name }, []string{"socat"}, "relay"); err == nil || !strings.Contains(err.Error(), `no relay "socat" here; there are udprelay, `) {
		t.Errorf("want what there is instead, got %v", err)
	}
}

func TestPageKeepsItsProse(t *testing.T) {
	const page = "before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n"
	got, err := replaceBlock(page, figuresBlock, "new\n\n")
	if want := "before\n<!-- figures -->\nnew\n<!-- end of figures -->\nafter\n"; got != want || err != nil {
		t.Errorf("want %q, got %q, %v", want, got, err)
	}
	for _, bad := range []string{"", page + page, "<!-- end of figures -->\n<!-- figures -->\n", "<!-- figures -->\n"} {
		if _, err := replaceBlock(bad, figuresBlock, "new"); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

func TestPublish(t *testing.T) {
	directory := t.TempDir()
	page, images := filepath.Join(directory, "page.md"), filepath.Join(directory, "images")
	if err := os.WriteFile(page, []byte("<!-- figures -->\n<!-- end of figures -->\n<!-- size -->\n<!-- end of size -->\n<!-- link -->\n<!-- end of link -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*report{fixed(), fixedSize(), fixedLink()} {
		name := filepath.Join(directory, "report.json")
		if err := r.write(name); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), []string{"-from", name, "-page", page, "-images", images}, os.Stdout, os.Stderr); err != nil {
			t.Fatal(err)
		}
	}
	want := "<!-- figures -->\n" + fixed().markdown("images") + "<!-- end of figures -->\n<!-- size -->\n" + fixedSize().sizeMarkdown("images") + "<!-- end of size -->\n<!-- link -->\n" + fixedLink().linkMarkdown() + "<!-- end of link -->\n"
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range []string{comparePlot, costPlot, crowdPlot} {
		if text, err := os.ReadFile(filepath.Join(images, name)); err != nil || !strings.Contains(string(text), "<svg") {
			t.Errorf("want a plot %s, got %q, %v", name, text, err)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for line, want := range map[string]string{
		"-rounds 0": "-rounds 0: want 1 to 100", "-rounds 101": "want 1 to 100",
		"-seconds 0": "-seconds 0: want more than 0", "-seconds NaN": "want more than 0", "-seconds 1e9": "up to 600", "-seconds 1e-12": "want more than 0",
		"-scenarios burst,nix": `no scenario "nix" here; there are burst, paced`, "-scenarios ,": "a name is empty",
		"-size -relays udprelay": "udprelay alone", "-link -relays udprelay": "udprelay alone", "-size -link": "want one of them", "-link -from x": "nothing is measured", "-size -peers 0": "want numbers from 1 to 100000", "-size -peers 10,x": "want numbers", "-peers 100001": "want numbers",
		"-from x -json y": "nothing is measured", "stray": `unexpected argument "stray"`,
	} {
		var said strings.Builder
		if err := run(t.Context(), strings.Fields(line), &said, &said); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got %v", line, want, err)
		}
	}
}

func FuzzReport(f *testing.F) {
	for _, r := range []*report{fixed(), fixedSize(), fixedLink()} {
		name := filepath.Join(f.TempDir(), "report.json")
		if err := r.write(name); err != nil {
			f.Fatal(err)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"runs":[{"scenario":"burst","relay":"x"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseReport(text)
		if err != nil {
			return
		}
		if len(r.Runs) > 0 {
			r.markdown("images")
		}
		if r.Size != nil {
			r.sizeMarkdown("images")
		}
		if r.Link != nil {
			r.linkMarkdown()
		}
	})
}
