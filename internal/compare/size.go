package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A size is how udprelay does with many peers.
type size struct {
	Receivers []cost  `json:"receivers"`
	Senders   []cost  `json:"senders"` // that receive nothing
	Crowds    []crowd `json:"crowds"`
	Ended     string  `json:"ended_early,omitempty"` // why it is not all
}

// A cost is what a datagram that comes in costs with so many peers.
type cost struct {
	Count       int       `json:"count"`
	PerDatagram []float64 `json:"processor_ns_per_datagram"` // of each round
}

// A crowd is what so many learned peers cost. Times are in seconds, of each
// round.
type crowd struct {
	Peers    int       `json:"peers"`
	Join     []float64 `json:"join_s"`
	List     []float64 `json:"list_s"` // by the API, pages of 1,000
	Page     []float64 `json:"page_s"` // the first page
	Save     []float64 `json:"save_s"` // the state file, with sync
	Stop     []float64 `json:"stop_s"`
	Start    []float64 `json:"start_s"` // with the state file, until they are back
	Expire   []float64 `json:"expire_processor_s"`
	Resident []float64 `json:"resident_bytes"`
	File     []float64 `json:"state_file_bytes"`
}

// columns are what is shown of a crowd.
var columns = []struct {
	title string
	plot  bool
	unit  float64 // that is shown as 1
	of    func(crowd) []float64
}{
	{"join, ms", true, 1e-3, func(c crowd) []float64 { return c.Join }},
	{"expire, ms of processor time", true, 1e-3, func(c crowd) []float64 { return c.Expire }},
	{"save, ms", true, 1e-3, func(c crowd) []float64 { return c.Save }},
	{"list all, ms", true, 1e-3, func(c crowd) []float64 { return c.List }},
	{"list 1,000, ms", true, 1e-3, func(c crowd) []float64 { return c.Page }},
	{"stop, ms", false, 1e-3, func(c crowd) []float64 { return c.Stop }},
	{"start, ms", false, 1e-3, func(c crowd) []float64 { return c.Start }},
	{"memory, MB", false, 1e6, func(c crowd) []float64 { return c.Resident }},
	{"state file, MB", false, 1e6, func(c crowd) []float64 { return c.File }},
}

// measured returns s without what no round has measured, or nil if that is all.
func (s *size) measured() *size {
	s.Crowds = slices.DeleteFunc(s.Crowds, func(c crowd) bool { return len(c.Join) == 0 })
	if len(s.Receivers)+len(s.Senders)+len(s.Crowds) == 0 {
		return nil
	}
	return s
}

// good reports whether values are those of some rounds.
func good(values []float64) bool {
	for _, v := range values {
		if !(v > 0) || math.IsInf(v, 0) {
			return false
		}
	}
	return len(values) > 0 && len(values) <= mostRounds
}

// check returns what of s cannot be shown.
func (s *size) check() error {
	for _, c := range append(append([]cost(nil), s.Receivers...), s.Senders...) {
		if c.Count < 1 || !good(c.PerDatagram) {
			return fmt.Errorf("the cost with %d peers is no list of up to %d times", c.Count, mostRounds)
		}
	}
	for _, c := range s.Crowds {
		for _, column := range columns {
			if c.Peers < 1 || !good(column.of(c)) {
				return fmt.Errorf("%s of %d peers is no list of up to %d figures", column.title, c.Peers, mostRounds)
			}
		}
	}
	return nil
}

// sizeMarkdown returns the block of the figures of size.
func (r *report) sizeMarkdown(images string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s, medians of %s; the relay had a processor of its own.\n", r.System, plural(r.Rounds, "round"))
	image := func(text, name string) {
		if images != "" {
			fmt.Fprintf(&b, "\n![%s](%s/%s)\n", text, images, name)
		}
	}
	image("Cost of a datagram by number of receivers, and of senders", costPlot)
	costs := func(title, what string, list []cost, each bool) {
		if len(list) == 0 {
			return
		}
		t := table{head: []string{what, "ns of processor time per datagram in", "from – to"}}
		if each {
			t.head = append(t.head, "ns per delivery")
		}
		for _, c := range list {
			f := of(c.PerDatagram)
			row := []string{count(c.Count), number(rounded(f.Median)), number(rounded(f.Least)) + " – " + number(rounded(f.Most))}
			if each {
				row = append(row, number(rounded(f.Median/float64(c.Count))))
			}
			t.add(row...)
		}
		fmt.Fprintf(&b, "\n%s\n\n%s", title, t.String())
	}
	costs("A datagram of 200 bytes from one sender, by the number of receivers, as many as the relay relays:", "receivers", r.Size.Receivers, true)
	costs("A datagram of 31 bytes, by the number of programs that take turns to send and may not receive; it waits\nin the receive queue when the time begins:", "senders", r.Size.Senders, false)
	if len(r.Size.Crowds) > 0 {
		image("Time to join, expire, save and list, by number of peers", crowdPlot)
		t := table{head: []string{"learned peers"}}
		for _, column := range columns {
			t.head = append(t.head, column.title)
		}
		for _, c := range r.Size.Crowds {
			row := []string{count(c.Peers)}
			for _, column := range columns {
				row = append(row, number(of(column.of(c)).Median/column.unit))
			}
			t.add(row...)
		}
		fmt.Fprintf(&b, "\nAll of a relay's learned peers at once:\n\n%s", t.String())
	}
	if r.Size.Ended != "" {
		fmt.Fprintf(&b, "\nIt ended early, and what is missing was not measured: %s.\n", r.Size.Ended)
	}
	return b.String()
}
