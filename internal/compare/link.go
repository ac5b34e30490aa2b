package main

import (
	"fmt"
	"strings"
)

// A link is how udprelay does as two nodes of a cluster, on one machine.
type link struct {
	Alone []alone    `json:"alone"`
	Runs  []benchRun `json:"runs"` // Scenario is one of linkLoads, Relay one of linkWays
}

// An alone is what the link itself does: batches brought in at one node and
// counted at the other, both in one process, with a TCP connection between them.
type alone struct {
	Sealed    bool      `json:"sealed"`
	PerSecond []float64 `json:"datagrams_per_second"` // of each round
	Hop       []float64 `json:"hop_ns"`               // of a lone datagram, the median of each round
}

// The ways that datagrams go.
const (
	oneRelay    = "one relay"
	twoNodes    = "two nodes"
	sealedNodes = "two nodes, sealed"
)

var linkWays = []string{oneRelay, twoNodes, sealedNodes}

// linkLoads are loads of one sender. With two nodes, all receivers are at the
// other one.
var linkLoads = []scenario{
	{Name: "one", Title: "one receiver, as many as are relayed", receivers: 1, senders: 1, sizes: "200"},
	{Name: "hundred", Title: "100 receivers, as many as are relayed", receivers: 100, senders: 1, sizes: "200"},
	{Name: "flood", Title: "one receiver, a flood", receivers: 1, senders: 1, sizes: "200"},
	{Name: "lone", Title: "eight receivers, 1,000 datagrams a second", receivers: latencyPeers, senders: 1, sizes: "200", rate: 1000, latency: true},
}

// measured returns l without what no round has measured, or nil if that is all.
func (l *link) measured() *link {
	var list []alone
	for _, a := range l.Alone {
		if len(a.PerSecond) > 0 && len(a.Hop) > 0 {
			list = append(list, a)
		}
	}
	if l.Alone = list; len(l.Alone)+len(l.Runs) == 0 {
		return nil
	}
	return l
}

// check returns what of l cannot be shown.
func (l *link) check() error {
	for _, a := range l.Alone {
		if !good(a.PerSecond) || !good(a.Hop) {
			return fmt.Errorf("the link alone is no list of up to %d figures", mostRounds)
		}
	}
	for _, run := range l.Runs {
		if _, err := choose(linkLoads, func(s scenario) string { return s.Name }, []string{run.Scenario}, "load"); err != nil {
			return err
		}
		if _, err := choose(linkWays, func(s string) string { return s }, []string{run.Relay}, "way"); err != nil {
			return err
		}
		if run.Round < 0 {
			return fmt.Errorf("a run of load %s has no round", run.Scenario)
		}
	}
	return nil
}

// linkMarkdown returns the block of the figures of the link.
func (r *report) linkMarkdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s, medians of %s; all processes shared the processors.\n", r.System, plural(r.Rounds, "round"))
	if len(r.Link.Alone) > 0 {
		t := table{head: []string{"the link alone", "datagrams a second", "from – to", "a lone datagram, µs", "from – to"}}
		for _, a := range r.Link.Alone {
			name, rate, hop := "as it is", of(a.PerSecond), of(a.Hop)
			if a.Sealed {
				name = "sealed"
			}
			t.add(name, number(rounded(rate.Median)), span(rate, 1), number(hop.Median/1e3), span(hop, 1e3))
		}
		fmt.Fprintf(&b, "\nBatches of 64 datagrams of 200 bytes, brought in at one node and counted at the other:\n\n%s", t.String())
	}
	runs := &report{Runs: r.Link.Runs}
	p50, p99 := times(latencyOf, p50), times(latencyOf, p99)
	through := table{head: []string{"load", "way", "deliveries a second", "from – to", "beside one relay", "lost"}}
	late := table{head: []string{"way", "p50, µs", "from – to", "more than one relay, µs", "p99, µs", "from – to"}}
	for _, load := range linkLoads {
		for _, way := range linkWays {
			if f := runs.figure(load.Name, way, p50); load.latency && f.Rounds > 0 {
				last := runs.figure(load.Name, way, p99)
				late.add(way, number(f.Median), span(f, 1), number(f.Median-runs.figure(load.Name, oneRelay, p50).Median), number(last.Median), span(last, 1))
			}
			if f := runs.figure(load.Name, way, deliveries); !load.latency && f.Rounds > 0 {
				through.add(load.Title, way, number(rounded(f.Median)), span(f, 1),
					ratioText(runs.ratio(load.Name, way, oneRelay, deliveries).Median), percent(runs.figure(load.Name, way, lost).Median))
			}
		}
	}
	if len(through.rows) > 0 {
		fmt.Fprintf(&b, "\nDatagrams of 200 bytes from one sender by UDP, with two nodes to receivers at the other one:\n\n%s", through.String())
	}
	if len(late.rows) > 0 {
		fmt.Fprintf(&b, "\nLatency at 1,000 datagrams a second, of eight receivers:\n\n%s", late.String())
	}
	return b.String()
}

// span writes the least and the most of a figure, in units.
func span(f figure, unit float64) string {
	return number(rounded(f.Least/unit)) + " – " + number(rounded(f.Most/unit))
}
