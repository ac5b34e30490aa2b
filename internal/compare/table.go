package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// A table is a table of Markdown.
type table struct {
	head []string
	rows [][]string
}

// add adds a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String returns the table, its first column to the left and the others to the
// right.
func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	line(append([]string{"---"}, slices.Repeat([]string{"---:"}, len(t.head)-1)...))
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// number returns v with three digits that count, and commas between thousands.
// Without a value it is a dash.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	if abs := math.Abs(v); abs != 0 && abs < 99.95 {
		digits := max(0, 2-int(math.Floor(math.Log10(abs))))
		return fmt.Sprintf("%.*f", min(digits, 6), v)
	}
	return commas(fmt.Sprintf("%.0f", v))
}

// count returns n with commas between thousands.
func count(n int) string { return commas(fmt.Sprint(n)) }

func commas(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

// rounded returns v with three digits that count and zeros behind them.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-2)
	return math.Round(v/unit) * unit
}

// ratioText returns a ratio with two digits behind the point.
func ratioText(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.2f", v)
}

func percent(v float64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%.2g %%", v*100)
}

// scenarioTable returns what the relays did in a scenario.
func (r *report) scenarioTable(s scenario) string {
	if s.latency {
		return r.latencyTable(s)
	}
	t := table{head: []string{"relay", "deliveries/s", "from – to", "ns of processor time per delivery", "lost", "deliveries, udprelay = 1", "time, udprelay = 1"}}
	for _, name := range r.relays(s) {
		out, cost := r.figure(s.Name, name, deliveries), r.figure(s.Name, name, perDelivery)
		t.add(name, number(rounded(out.Median)), number(rounded(out.Least))+" – "+number(rounded(out.Most)), number(rounded(cost.Median)),
			percent(r.figure(s.Name, name, lost).Median),
			ratioText(r.ratio(s.Name, name, ours, deliveries).Median), ratioText(r.ratio(s.Name, name, ours, perDelivery).Median))
	}
	return t.String()
}

func (r *report) latencyTable(s scenario) string {
	t := table{head: []string{"relay", "p50, µs", "p99, µs", "p99 from – to", "first to last, p50, µs", "lost", "p50, udprelay = 1", "p99, udprelay = 1"}}
	half, most := times(latencyOf, p50), times(latencyOf, p99)
	for _, name := range r.relays(s) {
		late := r.figure(s.Name, name, most)
		t.add(name, number(r.figure(s.Name, name, half).Median), number(late.Median), number(late.Least)+" – "+number(late.Most),
			number(r.figure(s.Name, name, times(spreadOf, p50)).Median), percent(r.figure(s.Name, name, lost).Median),
			ratioText(r.ratio(s.Name, name, ours, half).Median), ratioText(r.ratio(s.Name, name, ours, most).Median))
	}
	return t.String()
}

// claimTable returns what udprelay is to reach, and whether it does; empty if
// nothing of it was measured.
func (r *report) claimTable() string {
	t := table{head: []string{"udprelay beside", "of", "ratio", "from – to", "wanted", ""}}
	for _, c := range claims {
		f := r.ratio(c.scenario, ours, c.other, c.measure)
		if f.Rounds == 0 {
			continue
		}
		wanted, verdict := "at least ", "holds"
		if c.most {
			wanted = "at most "
		}
		if !c.holds(f.Median) {
			verdict = "**does not hold**"
		}
		t.add(fmt.Sprintf("`%s`, %s", c.other, c.scenario), c.what, ratioText(f.Median), ratioText(f.Least)+" – "+ratioText(f.Most), wanted+ratioText(c.limit), verdict)
	}
	if len(t.rows) == 0 {
		return ""
	}
	return t.String()
}

// markdown returns the block of figures. Images are in the directory images, as
// seen from the page; empty: there are none.
func (r *report) markdown(images string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s, medians of %s of %v s, in turn;\nthe load generator on one processor, the relay on another. Ratios are medians, too, of those in each round.\n", r.System, plural(r.Rounds, "round"), r.Seconds)
	if images != "" {
		fmt.Fprintf(&b, "\n![Deliveries, processor time and latency of each relay](%s/%s)\n", images, comparePlot)
	}
	if text := r.claimTable(); text != "" {
		fmt.Fprintf(&b, "\n%s", text)
	}
	shown := map[string]bool{}
	for _, s := range scenarios {
		names := r.relays(s)
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n**%s%s**: %s.\n\n%s", strings.ToUpper(s.Name[:1]), s.Name[1:], s.Title+r.rateNote(s), r.scenarioTable(s))
		for _, name := range names {
			shown[name] = true
		}
	}
	b.WriteString("\nWhat they are:\n\n")
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		fmt.Fprintf(&b, "- `%s`: %s.\n", name, r.Relays[name])
	}
	for _, note := range append(slices.Clone(r.Notes), r.generatorNotes()...) {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	return b.String()
}

// rateNote says what rate a scenario had that is not the same each time.
func (r *report) rateNote(s scenario) string {
	if !s.latency {
		return ""
	}
	for _, run := range r.Runs {
		if run.Scenario == s.Name {
			return fmt.Sprintf(": %s datagrams a second", number(rounded(run.Result.Rate)))
		}
	}
	return ""
}

// generatorNotes says where the generator, and not the relay, set the pace.
func (r *report) generatorNotes() (notes []string) {
	for _, s := range scenarios {
		for _, name := range r.relays(s) {
			runs, limited := 0, 0
			for _, run := range r.Runs {
				if run.Scenario == s.Name && run.Relay == name {
					runs++
					if run.Result.Generator.Limit {
						limited++
					}
				}
			}
			if 2*limited > runs {
				notes = append(notes, fmt.Sprintf("In %s, the load generator was the limit of `%s`, which could do more.", s.Name, name))
			}
		}
	}
	return notes
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
