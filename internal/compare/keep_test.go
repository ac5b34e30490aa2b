package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// counted returns how many runs a report has of each scenario.
func counted(r *report) map[string]int {
	found := map[string]int{}
	for _, run := range r.Runs {
		found[run.Scenario]++
	}
	return found
}

func TestWhatIsMeasuredAnewReplacesTheSameScenario(t *testing.T) {
	all, anew := fixed(), fixed()
	all.Notes = []string{"`socat` was left out of burst in round 1: it ended", "`socat` was left out of mixed in round 2: it ended", "It ended early in burst, in round 3, and what comes after was not measured: no."}
	all.Size = fixedSize().Size
	anew.Runs = anew.Runs[:2]                                                           // of burst
	anew.Runs = append(anew.Runs, benchRun{Scenario: "one", Relay: ours}, anew.Runs[0]) // and one that was not there
	anew.Runs[0].Result.DeliveredPerSecond = 7
	anew.Notes = []string{"`gstreamer` was left out of burst in round 1: it ended"}
	anew.Relays = map[string]string{"new": "something"}
	before := counted(all)
	all.replace(anew)
	if got := counted(all); got["burst"] != 3 || got["one"] != 1 || got["mixed"] != before["mixed"] || got["latency"] != before["latency"] {
		t.Errorf("want burst and one as they are now, and the others as they were, got %v after %v", got, before)
	}
	if got := strings.Join(all.Notes, "|"); got != "`socat` was left out of mixed in round 2: it ended|`gstreamer` was left out of burst in round 1: it ended" {
		t.Errorf("want the notes of burst replaced, got %s", got)
	}
	if all.Relays["new"] == "" || all.Relays[ours] == "" || all.Size == nil {
		t.Errorf("want the relays of both, and the size, got %v", all.Relays)
	}

	// What ended early replaces nothing, and is there where nothing was.
	cut := fixed()
	cut.Runs = []benchRun{{Scenario: "mixed", Relay: ours}, {Scenario: "burst", Relay: ours}}
	cut.end("mixed", 0, errors.New("it broke"))
	cut.Size = &size{Receivers: []cost{{1, []float64{1}}}}
	cut.end("", 0, errors.New("it broke"))
	all.replace(cut)
	if got := counted(all); got["mixed"] != before["mixed"] || got["burst"] != 1 || len(all.Size.Crowds) == 0 {
		t.Errorf("want burst replaced, and neither mixed nor the size, got %v, %v", got, all.Size)
	}
	none := &report{Runs: []benchRun{{Scenario: "one", Relay: ours}}}
	none.replace(cut)
	if got := counted(none); got["mixed"] != 1 || none.Size == nil || len(none.Notes) != 1 {
		t.Errorf("want mixed and the size where there were none, and a note, got %v, %v", got, none.Notes)
	}
}

func TestFiguresOfAnotherMachineDoNotFit(t *testing.T) {
	for what, change := range map[string]func(*report){
		"a system": func(r *report) { r.System = "Plan 9" },
		"rounds":   func(r *report) { r.Rounds = 9 },
		"seconds":  func(r *report) { r.Seconds = 9 },
	} {
		other := fixed()
		if err := fixed().fits(other); err != nil {
			t.Error(err)
		}
		change(other)
		if err := fixed().fits(other); err == nil || !strings.Contains(err.Error(), "3 rounds of 2 s on Linux 6.18") {
			t.Errorf("another %s: want an error, got %v", what, err)
		}
	}
}

// What cannot be written is told before all is measured.
func TestFilesAreCheckedFirst(t *testing.T) {
	directory := t.TempDir()
	page, report := filepath.Join(directory, "page.md"), filepath.Join(directory, "report.json")
	if err := os.WriteFile(page, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fixed().write(report); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(directory, "missing", "file")
	for line, want := range map[string]string{
		"-json " + missing: "could not be written", "-page " + missing: "no such file", "-page " + page: "want the lines", "-size -page " + page: "<!-- size -->", "-link -page " + page: "<!-- link -->",
		"-into " + missing: "no such file", "-into " + page: "no report of compare",
		"-scenarios burst -page " + page:                      "would drop the figures of the other scenarios; want -into FILE",
		"-relays udprelay -page " + page:                      "would drop the figures of the other relays",
		"-relays udprelay -into " + report:                    "would drop the figures of the other relays",
		"-from " + report + " -into " + report:                "nothing is measured",
		"-scenarios burst -into " + report + " -page " + page: "want the lines",
	} {
		var said strings.Builder
		if err := run(t.Context(), strings.Fields(line), &said, &said); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got %v", line, want, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(directory, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("want no other file, got %v, %v", left, err)
	}
}

// As much is written as can be, and the rest is printed.
func TestKeepWritesWhatItCan(t *testing.T) {
	directory := t.TempDir()
	good, missing := filepath.Join(directory, "report.json"), filepath.Join(directory, "missing", "file")
	var said strings.Builder
	where, err := fixed().keep(options{json: good, into: missing, page: missing}, &said)
	if err == nil || len(where) != 1 || where[0] != good || !strings.Contains(said.String(), "**Burst**") {
		t.Errorf("want %s written and the tables printed, got %v, %v, %s", good, where, err, said.String())
	}
	if r, err := readReport(good); err != nil || len(r.Runs) != len(fixed().Runs) {
		t.Errorf("want the report, got %v", err)
	}
	text := (&early{context.Canceled, where}).Error()
	if text != "it ended early: it was stopped; what was measured until then is in "+good {
		t.Errorf("want what was stopped and where the rest is, got %s", text)
	}
}
