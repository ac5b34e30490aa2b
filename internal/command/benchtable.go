package command

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"

	"udprelay/internal/bench"
)

// benchTable returns the lines that tell a person what was measured.
func benchTable(r *bench.Result, own bool) (lines []string) {
	say := func(title, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%-10s %s", title, fmt.Sprintf(format, args...)))
	}
	relay := r.Relay.String()
	if own {
		relay += ", started for this"
	}
	say("relay", "%s", relay)
	pace := fmt.Sprintf("%s datagrams/s", strconv.FormatFloat(r.Rate, 'f', -1, 64))
	switch r.Pace {
	case "window":
		pace = fmt.Sprintf("as many as are relayed, at most %d under way", r.Window)
	case "flood":
		pace = "a flood"
	}
	ended := ""
	if r.Interrupted {
		ended = ", then stopped"
	}
	say("load", "%s, %s, %s bytes; %s; %.1f s%s", plural(r.Peers, "peer"), plural(r.Senders, "sender"), r.Sizes, pace, r.Seconds, ended)
	say("in", "%s datagrams/s, %s in all", counted(uint64(r.SentPerSecond+0.5)), counted(r.Sent))
	say("out", "%s datagrams/s, %s in all", counted(uint64(r.DeliveredPerSecond+0.5)), counted(r.Delivered))
	say("lost", "%s", benchLoss(r))
	lines = append(lines, benchTimes(r)...)
	if p := r.Process; p != nil {
		say("processor", "%.0f ns per delivery, %.2f s in all (process %d)", p.PerDelivery, p.ProcessorSeconds, p.PID)
		say("memory", "%s resident, %s at most", bytesOf(short(p.Resident)), bytesOf(short(p.MostResident)))
	}
	limit := ""
	if r.Generator.Limit {
		limit = "; it was the limit, not the relay"
	}
	say("generator", "%.0f %% of a core to send, %.2f s of processor time for all%s", 100*r.Generator.ProcessorShare, r.Generator.BenchSeconds, limit)
	for _, note := range r.Notes {
		say("note", "%s", note)
	}
	return lines
}

func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return counted(n) + " " + word
}

// benchLoss says what was lost, and where, as far as it is known.
func benchLoss(r *bench.Result) string {
	text := "nothing"
	if r.Lost > 0 {
		text = fmt.Sprintf("%s of %s deliveries, %s %%", counted(r.Lost), counted(r.Due), strconv.FormatFloat(100*r.LossRatio, 'g', 3, 64))
		if r.LeastDelivered < r.MostDelivered {
			text += fmt.Sprintf("; a receiver got from %s to %s", counted(r.LeastDelivered), counted(r.MostDelivered))
		}
	}
	if r.Process != nil && r.Process.QueueDrops != nil && *r.Process.QueueDrops > 0 {
		text += fmt.Sprintf("; the relay's receive queue was full %s times", counted(*r.Process.QueueDrops))
	}
	return text
}

// benchTimes returns the table of what takes time.
func benchTimes(r *bench.Result) []string {
	columns := []column{{title: "", least: 9}, {title: "p50", right: true}, {title: "p90", right: true}, {title: "p99", right: true},
		{title: "p99.9", right: true}, {title: "max", right: true}, {title: "of", right: true}}
	for _, row := range []struct {
		name  string
		times *bench.Times
	}{{"latency", r.Latency}, {"spread", r.Spread}, {"sent late", r.Generator.Late}} {
		if t := row.times; t != nil {
			for i, cell := range []string{row.name, took(t.P50), took(t.P90), took(t.P99), took(t.P999), took(t.Max), counted(uint64(t.Count))} {
				columns[i].cells = append(columns[i].cells, cell)
			}
		}
	}
	if len(columns[0].cells) == 0 {
		return []string{fmt.Sprintf("%-10s not measured without --rate or --latency-peers", "latency")}
	}
	return layOut(columns, 0)
}

// took returns a duration with three digits: 12.3 us, 1.23 ms, 123 ms, 1.23 s.
func took(d time.Duration) string {
	x, unit := float64(d)/1e3, "us"
	for _, larger := range []string{"ms", "s"} {
		if x >= 999.5 {
			x, unit = x/1000, larger
		}
	}
	digits := 2
	switch {
	case x >= 99.95:
		digits = 0
	case x >= 9.995:
		digits = 1
	}
	return strconv.FormatFloat(x, 'f', digits, 64) + " " + unit
}

// A benchBar shows how far a bench is.
type benchBar struct {
	to       io.Writer
	duration time.Duration
	bar      *progressbar.ProgressBar
	joining  bool
}

// show shows a snapshot. The bar is one of joining first, and then of time.
func (b *benchBar) show(s bench.Snapshot) {
	joining := s.Phase == bench.Joining
	if b.bar == nil || joining != b.joining {
		b.end()
		total := int64(b.duration)
		if joining {
			total = int64(s.Peers)
		}
		b.joining = joining
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(b.to),
			progressbar.OptionSetWidth(20),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
		)
	}
	if joining {
		b.bar.Describe(fmt.Sprintf("%d of %d peers joined", s.Joined, s.Peers))
		_ = b.bar.Set64(int64(min(s.Joined, s.Peers-1))) // a terminal that is gone is no failure; end ends the bar
		return
	}
	what := fmt.Sprintf("in %s/s, out %s/s", shortRate(s.SentRate), shortRate(s.DeliveredRate))
	if s.Phase == bench.Draining {
		what = fmt.Sprintf("waiting for what is under way, %s", short(s.Due-min(s.Came, s.Due)))
	}
	b.bar.Describe(what)
	_ = b.bar.Set64(int64(min(s.Elapsed, b.duration-1)))
}

// end takes the bar away.
func (b *benchBar) end() {
	if b.bar != nil {
		_ = b.bar.Exit()
		fmt.Fprint(b.to, "\r\x1b[K")
		b.bar = nil
	}
}
