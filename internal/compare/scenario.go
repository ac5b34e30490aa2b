package main

import (
	"fmt"

	"udprelay/internal/bench"
)

// A scenario is a load.
type scenario struct {
	Name, Title string
	receivers   int
	senders     int
	sizes       string
	rate        float64 // datagrams a second; 0: as many as are relayed
	latency     bool    // at a tenth of the saturation of plainWay
}

var scenarios = []scenario{
	{Name: "burst", Title: "200 bytes, 100 peers, one sender, as many as the relay relays", receivers: 100, senders: 1, sizes: "200"},
	{Name: "paced", Title: "200 bytes, 100 peers, 1,000 datagrams a second", receivers: 100, senders: 1, sizes: "200", rate: 1000},
	{Name: "mixed", Title: "40 to 400 bytes, 100 peers, twenty more that send, as many as the relay relays", receivers: 100, senders: 20, sizes: "40-400"},
	{Name: "latency", Title: "200 bytes, 100 peers, a tenth of what `" + plainWay + "` can do", receivers: 100, senders: 1, sizes: "200", latency: true},
	{Name: "one", Title: "200 bytes, one receiver, one sender, as many as the relay relays", receivers: 1, senders: 1, sizes: "200"},
	{Name: "three", Title: "200 bytes, three receivers, one sender, as many as the relay relays", receivers: 3, senders: 1, sizes: "200"},
}

// scenarioOf returns the scenario of a name.
func scenarioOf(name string) (scenario, error) {
	list, err := choose(scenarios, func(s scenario) string { return s.Name }, []string{name}, "scenario")
	if err != nil {
		return scenario{}, err
	}
	return list[0], nil
}

// latencyPeers is how many receivers measure latency.
const latencyPeers = 8

// config returns the load as bench has it. The relay's address and process are
// not in it.
func (s scenario) config() (c bench.Config, err error) {
	c = bench.Config{Peers: s.receivers, Senders: s.senders, Rate: s.rate, Open: true}
	if s.latency {
		c.LatencyPeers = latencyPeers
	}
	if c.Mix, err = bench.ParseMix(s.sizes); err != nil {
		return c, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return c, nil
}

// takes reports whether a relay can have so many receivers.
func (c candidate) takes(s scenario) bool { return c.most == 0 || s.receivers <= c.most }

// turns returns the relays of a round in their order: each round begins with
// another, so that none always comes after the same.
func turns(relays []candidate, round int) []candidate {
	if len(relays) == 0 {
		return nil
	}
	first := round % len(relays)
	return append(append([]candidate(nil), relays[first:]...), relays[:first]...)
}
