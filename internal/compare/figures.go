package main

import (
	"math"
	"slices"

	"udprelay/internal/bench"
)

// A figure is what several rounds have measured.
type figure struct {
	Median, Least, Most float64
	Rounds              int
}

// of returns the figure of values, which may be in any order; none if there are
// no values.
func of(values []float64) figure {
	if len(values) == 0 {
		return figure{Median: math.NaN(), Least: math.NaN(), Most: math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	return figure{Median: median(sorted), Least: sorted[0], Most: sorted[len(sorted)-1], Rounds: len(sorted)}
}

// median returns the middle of sorted values, or the mean of the two that are
// there.
func median(sorted []float64) float64 {
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// A measure takes one value from a result. NaN: it was not measured.
type measure func(bench.Result) float64

func deliveries(r bench.Result) float64 { return r.DeliveredPerSecond }

func perDelivery(r bench.Result) float64 {
	if r.Process == nil || r.Process.PerDelivery == 0 {
		return math.NaN()
	}
	return r.Process.PerDelivery
}

func lost(r bench.Result) float64 { return r.LossRatio }

// times returns a measure of latency or spread, in microseconds.
func times(of func(bench.Result) *bench.Times, at func(*bench.Times) int64) measure {
	return func(r bench.Result) float64 {
		t := of(r)
		if t == nil {
			return math.NaN()
		}
		return float64(at(t)) / 1000
	}
}

var (
	latencyOf = func(r bench.Result) *bench.Times { return r.Latency }
	spreadOf  = func(r bench.Result) *bench.Times { return r.Spread }
	p50       = func(t *bench.Times) int64 { return int64(t.P50) }
	p99       = func(t *bench.Times) int64 { return int64(t.P99) }
)

// values returns what m says of a relay in a scenario, by round.
func (r *report) values(scenario, relay string, m measure) map[int]float64 {
	found := map[int]float64{}
	for _, run := range r.Runs {
		if v := m(run.Result); run.Scenario == scenario && run.Relay == relay && !math.IsNaN(v) {
			found[run.Round] = v
		}
	}
	return found
}

// figure returns what m says of a relay in a scenario.
func (r *report) figure(scenario, relay string, m measure) figure {
	var list []float64
	for _, v := range r.values(scenario, relay, m) {
		list = append(list, v)
	}
	return of(list)
}

// ratio returns what m says of a relay divided by what it says of another in the
// same round. A round that lacks one of them does not count.
func (r *report) ratio(scenario, relay, other string, m measure) figure {
	var list []float64
	below := r.values(scenario, other, m)
	for round, v := range r.values(scenario, relay, m) {
		if d, ok := below[round]; ok && d > 0 {
			list = append(list, v/d)
		}
	}
	return of(list)
}

// relays returns the relays that were measured in a scenario, ours first and
// then by what they deliver, the most first, or by latency.
func (r *report) relays(s scenario) (names []string) {
	for _, run := range r.Runs {
		if run.Scenario == s.Name && !slices.Contains(names, run.Relay) {
			names = append(names, run.Relay)
		}
	}
	rank := func(name string) float64 {
		switch {
		case name == ours:
			return math.Inf(-1)
		case s.latency:
			return r.figure(s.Name, name, times(latencyOf, p50)).Median
		case s.rate > 0:
			return r.figure(s.Name, name, perDelivery).Median
		}
		return -r.figure(s.Name, name, deliveries).Median
	}
	slices.SortStableFunc(names, func(a, b string) int {
		x, y := rank(a), rank(b)
		switch {
		case x < y || math.IsNaN(y) && !math.IsNaN(x):
			return -1
		case x > y || math.IsNaN(x) && !math.IsNaN(y):
			return 1
		}
		return 0
	})
	return names
}

// A claim is what udprelay is to reach.
type claim struct {
	scenario, other string
	what            string
	measure         measure
	limit           float64
	most            bool // the ratio is to be no more than limit; else no less
}

var claims = []claim{
	{"burst", limitGSO, "deliveries a second", deliveries, 0.95, false},
	{"burst", limitGSO, "processor time of a delivery", perDelivery, 1 / 0.95, true},
	{"mixed", limitMMsg, "deliveries a second", deliveries, 1, false},
	{"mixed", limitMMsg, "processor time of a delivery", perDelivery, 1, true},
	{"latency", plainWay, "latency, p50", times(latencyOf, p50), 1, true},
	{"latency", plainWay, "latency, p99", times(latencyOf, p99), 1, true},
}

// holds reports whether a claim holds with a ratio.
func (c claim) holds(ratio float64) bool {
	if c.most {
		return ratio <= c.limit
	}
	return ratio >= c.limit
}
