package main

import (
	"encoding/json"
	"fmt"
	"os"

	"udprelay/internal/bench"
)

// A report is all that was measured, as the program keeps it in a file.
type report struct {
	System  string            `json:"system"`
	Rounds  int               `json:"rounds"`
	Seconds float64           `json:"seconds"` // of each run
	Relays  map[string]string `json:"relays"`  // name → what it is
	Notes   []string          `json:"notes"`
	Runs    []benchRun        `json:"runs"`
	Size    *size             `json:"size,omitempty"`
	Link    *link             `json:"link,omitempty"`

	cut string // the scenario in which the measurement ended early; empty: in none
}

// A benchRun is one relay in one round of a scenario.
type benchRun struct {
	Scenario string       `json:"scenario"`
	Relay    string       `json:"relay"`
	Round    int          `json:"round"`
	Result   bench.Result `json:"result"`
}

const mostReport = 64 << 20 // bytes

// readReport reads what write has written.
func readReport(name string) (*report, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > mostReport {
		return nil, fmt.Errorf("%s has %d bytes; a report has at most %d", name, info.Size(), mostReport)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseReport(text)
}

// parseReport reads a report and checks that its figures can be shown.
func parseReport(text []byte) (*report, error) {
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("this is no report of compare: %w", err)
	}
	if r.isEmpty() {
		return nil, fmt.Errorf("a report without a run")
	}
	for _, run := range r.Runs {
		if _, err := scenarioOf(run.Scenario); err != nil {
			return nil, err
		}
		if run.Relay == "" || run.Round < 0 {
			return nil, fmt.Errorf("a run of scenario %s in round %d has no relay or no round", run.Scenario, run.Round)
		}
	}
	if r.Size != nil {
		if err := r.Size.check(); err != nil {
			return r, err
		}
	}
	if r.Link != nil {
		return r, r.Link.check()
	}
	return r, nil
}

func (r *report) write(name string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	// What is there stays as it is until all is written.
	if err := os.WriteFile(name+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
