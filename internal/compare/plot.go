package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours are told apart by those who see no red or no green, too.
var (
	blue   = color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}
	grey   = color.RGBA{R: 0x99, G: 0x99, B: 0x99, A: 0xff}
	black  = color.RGBA{R: 0x22, G: 0x22, B: 0x22, A: 0xff}
	faint  = color.RGBA{R: 0xdd, G: 0xdd, B: 0xdd, A: 0xff}
	series = []color.Color{blue, color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, black}
)

// A bar is one relay in a chart.
type bar struct {
	name string
	figure
}

// plots returns the plots of what was measured, by the names of their files.
func (r *report) plots() (map[string][]byte, error) {
	plots := map[string][]byte{}
	add := func(name string, draw func() ([]byte, error)) error {
		text, err := draw()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		plots[name] = text
		return nil
	}
	if len(r.Runs) > 0 {
		if err := add(comparePlot, r.comparePlot); err != nil {
			return nil, err
		}
	}
	if r.Size == nil {
		return plots, nil
	}
	if len(r.Size.Receivers)+len(r.Size.Senders) > 0 {
		if err := add(costPlot, r.Size.costPlot); err != nil {
			return nil, err
		}
	}
	if len(r.Size.Crowds) > 0 {
		return plots, add(crowdPlot, r.Size.crowdPlot)
	}
	return plots, nil
}

// comparePlot draws a chart for each scenario.
func (r *report) comparePlot() ([]byte, error) {
	var charts []*plot.Plot
	for _, chart := range []struct {
		scenario, title string
		measure         measure
		unit            float64
	}{
		{"burst", "Burst: thousand deliveries/s (more is better)", deliveries, 1000},
		{"mixed", "Mixed sizes: thousand deliveries/s (more is better)", deliveries, 1000},
		{"paced", "1,000 datagrams/s: ns of processor time\nper delivery (less is better)", perDelivery, 1},
		{"latency", "A tenth of saturation: latency p99, µs\n(less is better)", times(latencyOf, p99), 1},
	} {
		s, err := scenarioOf(chart.scenario)
		if err != nil {
			return nil, err
		}
		var bars []bar
		for _, name := range r.relays(s) {
			f := r.figure(s.Name, name, chart.measure)
			if f.Rounds > 0 {
				bars = append(bars, bar{name, figure{f.Median / chart.unit, f.Least / chart.unit, f.Most / chart.unit, f.Rounds}})
			}
		}
		if len(bars) == 0 {
			continue
		}
		p, err := barChart(chart.title, bars)
		if err != nil {
			return nil, err
		}
		charts = append(charts, p)
	}
	if len(charts) == 0 {
		// Only scenarios that have no chart: their deliveries.
		for _, s := range scenarios {
			var bars []bar
			for _, name := range r.relays(s) {
				bars = append(bars, bar{name, r.figure(s.Name, name, deliveries)})
			}
			if len(bars) == 0 {
				continue
			}
			p, err := barChart(s.Name+": deliveries/s (more is better)", bars)
			if err != nil {
				return nil, err
			}
			charts = append(charts, p)
		}
	}
	return svg(charts, 2, 4.6*vg.Inch, 2.9*vg.Inch)
}

// newPlot returns an empty plot in the style of all.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(6)
	p.BackgroundColor = color.White
	sans := func(style *text.Style, size vg.Length) {
		style.Font.Variant, style.Font.Size = "Sans", size
		style.Color = black
	}
	sans(&p.Title.TextStyle, vg.Points(11))
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		sans(&axis.Label.TextStyle, vg.Points(10))
		sans(&axis.Tick.Label, vg.Points(9.5))
		axis.Color, axis.Tick.Color = black, black
	}
	sans(&p.Legend.TextStyle, vg.Points(9.5))
	p.Legend.Padding = vg.Points(3)
	return p
}

// margin is behind labels left of an axis: fonts of viewers may be wider than
// the one that the plot is laid out with.
const margin = "    "

// barChart draws a line for each bar, the first at the top, with its figure and
// how far rounds lay apart. Ours has a colour of its own.
func barChart(title string, bars []bar) (*plot.Plot, error) {
	p := newPlot(title)
	most := 0.0
	var names []string
	for i := range bars {
		b := bars[len(bars)-1-i]
		names = append(names, b.name+margin)
		most = max(most, b.Most)
		chart, err := plotter.NewBarChart(plotter.Values{b.Median}, vg.Points(11))
		if err != nil {
			return nil, err
		}
		chart.Horizontal, chart.XMin, chart.LineStyle.Width, chart.Color = true, float64(i), 0, grey
		if b.name == ours {
			chart.Color = blue
		}
		p.Add(chart)
	}
	var whiskers errorsOf
	labels := plotter.XYLabels{}
	for i := range bars {
		b := bars[len(bars)-1-i]
		at := plotter.XY{X: b.Median, Y: float64(i)}
		whiskers.XYs = append(whiskers.XYs, at)
		whiskers.XErrors = append(whiskers.XErrors, struct{ Low, High float64 }{b.Median - b.Least, b.Most - b.Median})
		labels.XYs = append(labels.XYs, plotter.XY{X: b.Most, Y: at.Y})
		labels.Labels = append(labels.Labels, number(rounded(b.Median)))
	}
	lines, err := plotter.NewXErrorBars(whiskers)
	if err != nil {
		return nil, err
	}
	lines.Color, lines.CapWidth = black, vg.Points(5)
	figures, err := plotter.NewLabels(labels)
	if err != nil {
		return nil, err
	}
	for i := range figures.TextStyle {
		style := &figures.TextStyle[i]
		style.Font.Variant, style.Font.Size, style.Color, style.YAlign = "Sans", vg.Points(9), black, draw.YCenter
	}
	figures.Offset = vg.Point{X: vg.Points(4)}
	p.Add(lines, figures)
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, most*1.18
	p.X.Tick.Marker = plot.TickerFunc(fewTicks)
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	return p, nil
}

type errorsOf struct {
	plotter.XYs
	plotter.XErrors
}

// fewTicks marks about four round numbers from 0 on.
func fewTicks(_, most float64) (ticks []plot.Tick) {
	if !(most > 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, times := range []float64{5, 2} {
		if most/(step*times) >= 3 {
			step *= times
			break
		}
	}
	for at := 0.0; at <= most; at += step {
		ticks = append(ticks, plot.Tick{Value: at, Label: commas(strconv.FormatFloat(at, 'f', 0, 64))})
		if step < 1 {
			ticks[len(ticks)-1].Label = strconv.FormatFloat(at, 'g', 3, 64)
		}
	}
	return ticks
}

// A line is a series of a plot with two logarithmic axes.
type line struct {
	name   string
	points plotter.XYs
}

// linePlot draws lines over a number of peers.
func linePlot(title, x, y string, lines []line) (*plot.Plot, error) {
	p := newPlot(title)
	p.X.Label.Text, p.Y.Label.Text = x, y
	least, most := math.Inf(1), 0.0
	left, right := math.Inf(1), 0.0
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	p.Add(grid)
	for i, l := range lines {
		drawn, points, err := plotter.NewLinePoints(l.points)
		if err != nil {
			return nil, err
		}
		drawn.Color, drawn.Width = series[i%len(series)], vg.Points(1.5)
		points.Color, points.Shape, points.Radius = drawn.Color, draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(drawn, points)
		p.Legend.Add(l.name, drawn, points)
		for _, at := range l.points {
			least, most = min(least, at.Y), max(most, at.Y)
			left, right = min(left, at.X), max(right, at.X)
		}
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(6), vg.Points(-4)
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(powers), plot.TickerFunc(powersAside)
	p.X.Min, p.X.Max = decade(left, -1, 0), decade(right, 1, 0)
	if p.X.Min == p.X.Max {
		p.X.Max *= 10
	}
	// A decade more, for the legend.
	p.Y.Min, p.Y.Max = decade(least, -1, 0), decade(most, 1, 1)
	return p, nil
}

// decade returns the power of ten at v or beside it, below (-1) or above (1), and
// so many on.
func decade(v, side, on float64) float64 {
	return math.Pow(10, side*math.Ceil(side*math.Log10(v)-1e-9)+on)
}

// powers marks the powers of ten.
func powers(least, most float64) (ticks []plot.Tick) {
	for power := math.Ceil(math.Log10(least) - 1e-9); power <= math.Log10(most)+1e-9; power++ {
		at := math.Pow(10, power)
		label := strconv.FormatFloat(at, 'g', -1, 64)
		if at >= 1 {
			label = commas(strconv.FormatFloat(at, 'f', 0, 64))
		}
		ticks = append(ticks, plot.Tick{Value: at, Label: label})
	}
	return ticks
}

// powersAside is powers for an axis that has its labels at the left.
func powersAside(least, most float64) []plot.Tick {
	ticks := powers(least, most)
	for i := range ticks {
		ticks[i].Label += margin
	}
	return ticks
}

// costPlot draws what a datagram costs by the number of receivers and senders.
func (s *size) costPlot() ([]byte, error) {
	var lines []line
	for _, group := range []struct {
		name string
		list []cost
	}{{"receivers that it goes to", s.Receivers}, {"senders that take turns, no receiver", s.Senders}} {
		l := line{name: group.name}
		for _, c := range group.list {
			l.points = append(l.points, plotter.XY{X: float64(c.Count), Y: of(c.PerDatagram).Median / 1000})
		}
		if len(l.points) > 0 {
			lines = append(lines, l)
		}
	}
	p, err := linePlot("Processor time of a datagram that comes in", "number of receivers, or of senders", "µs", lines)
	if err != nil {
		return nil, err
	}
	return svg([]*plot.Plot{p}, 1, 7*vg.Inch, 4.2*vg.Inch)
}

// crowdPlot draws what all of a crowd take at once.
func (s *size) crowdPlot() ([]byte, error) {
	var lines []line
	for _, column := range columns {
		if !column.plot {
			continue
		}
		l := line{name: column.title}
		for _, c := range s.Crowds {
			l.points = append(l.points, plotter.XY{X: float64(c.Peers), Y: of(column.of(c)).Median / column.unit})
		}
		lines = append(lines, l)
	}
	p, err := linePlot("What all learned peers take at once", "learned peers", "ms", lines)
	if err != nil {
		return nil, err
	}
	return svg([]*plot.Plot{p}, 1, 7*vg.Inch, 4.2*vg.Inch)
}

// svg draws plots side by side, so many in a row, each of a size, on white.
func svg(plots []*plot.Plot, across int, width, height vg.Length) ([]byte, error) {
	across = min(across, len(plots))
	down := (len(plots) + across - 1) / across
	grid := make([][]*plot.Plot, down)
	for i := range grid {
		grid[i] = make([]*plot.Plot, across)
		for j := range grid[i] {
			if at := i*across + j; at < len(plots) {
				grid[i][j] = plots[at]
			}
		}
	}
	canvas := vgsvg.NewWith(vgsvg.UseWH(width*vg.Length(across), height*vg.Length(down)))
	dc := draw.New(canvas)
	dc.FillPolygon(color.White, dc.ClipPolygonXY([]vg.Point{dc.Min, {X: dc.Max.X, Y: dc.Min.Y}, dc.Max, {X: dc.Min.X, Y: dc.Max.Y}}))
	tiles := draw.Tiles{Rows: down, Cols: across, PadX: vg.Points(14), PadY: vg.Points(14), PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(8), PadRight: vg.Points(20)}
	for i, row := range plot.Align(grid, tiles, dc) {
		for j := range row {
			if grid[i][j] != nil {
				grid[i][j].Draw(row[j])
			}
		}
	}
	var text bytes.Buffer
	_, err := canvas.WriteTo(&text)
	// Arial is as wide as the font that it is laid out with.
	return bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), err
}
