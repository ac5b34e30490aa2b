package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"udprelay/internal/testneed"
)

// A tripwire calls act when a text has been written.
type tripwire struct {
	text string
	act  func()
	said strings.Builder
}

func (w *tripwire) Write(text []byte) (int, error) {
	w.said.Write(text)
	if strings.Contains(w.said.String(), w.text) {
		w.act()
	}
	return len(text), nil
}

// A stop costs nothing of what was measured before.
func TestWhatWasMeasuredBeforeAStopIsKept(t *testing.T) {
	needs(t)
	directory := t.TempDir()
	name, page := filepath.Join(directory, "report.json"), filepath.Join(directory, "page.md")
	if err := os.WriteFile(page, []byte("<!-- figures -->\nold\n<!-- end of figures -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	args := []string{"-rounds", "2", "-seconds", "0.05", "-page", page, "-images", filepath.Join(directory, "images"), "-json", name}
	err := run(ctx, args, t.Output(), &tripwire{text: "paced    1/2 " + ours, act: cancel})
	if ended := (*early)(nil); !errors.As(err, &ended) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "is in "+name+", "+page) {
		t.Fatalf("want to be told what was kept, got %v", err)
	}
	r, err := readReport(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := counted(r); got["burst"] < 2*7 || got["burst"]%2 != 0 || got["paced"] != 1 || len(got) != 2 {
		t.Errorf("want all of burst and one run of paced, got %v", got)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "**Burst**") || !strings.Contains(string(text), "It ended early in paced, in round 1, and what comes after was not measured: it was stopped.") {
		t.Errorf("want a page that says so, got %s, %v", text, err)
	}
}

// A relay of ours that fails ends the run, and costs nothing of what was
// measured before.
func TestWhatWasMeasuredBeforeAFailureIsKept(t *testing.T) {
	needs(t)
	s, undo, err := newSession(t.Context(), options{rounds: 2, each: 50e6}, t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	one, err := scenarioOf("one")
	if err != nil {
		t.Fatal(err)
	}
	broken := programs{limitrelay: "false", udprelay: s.programs.udprelay}
	list, err := choose(candidates(broken), candidateName, []string{ours, limitGSO}, "relay")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.compare(t.Context(), []scenario{one}, list); err == nil {
		t.Error("want an error")
	}
	if r := s.report; len(r.Runs) != 1 || r.cut != "one" || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "It ended early in one, in round 1") {
		t.Errorf("want what was measured, and a note, got %+v", r)
	}
}

func TestCrowdsMeasuredBeforeAStopAreKept(t *testing.T) {
	needs(t)
	testneed.Root(t) // for a receive buffer that holds a window
	name := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	args := []string{"-size", "-peers", "100,200", "-rounds", "1", "-seconds", "0.05", "-json", name}
	err := run(ctx, args, t.Output(), &tripwire{text: "crowd         100 ", act: cancel})
	if ended := (*early)(nil); !errors.As(err, &ended) {
		t.Fatalf("want to be told what was kept, got %v", err)
	}
	r, err := readReport(name) // which checks that each figure is there
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Size; len(s.Receivers) != 3 || len(s.Crowds) != 1 || s.Ended != "it was stopped" || !strings.Contains(r.sizeMarkdown(""), "It ended early") {
		t.Errorf("want what was measured, and why it is not all, got %+v", s)
	}
}

// One scenario is measured again, and the page shows it beside the others.
func TestAScenarioIsMeasuredAgainIntoAFile(t *testing.T) {
	needs(t)
	directory := t.TempDir()
	name, page := filepath.Join(directory, "report.json"), filepath.Join(directory, "page.md")
	if err := os.WriteFile(page, []byte("<!-- figures -->\nold\n<!-- end of figures -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := []string{"-rounds", "1", "-seconds", "0.05"}
	if err := run(t.Context(), append(short, "-scenarios", "one,three", "-json", name), t.Output(), t.Output()); err != nil {
		t.Fatal(err)
	}
	before, err := readReport(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), append(short, "-scenarios", "one", "-into", name, "-page", page, "-images", filepath.Join(directory, "images")), t.Output(), t.Output()); err != nil {
		t.Fatal(err)
	}
	after, err := readReport(name)
	if err != nil {
		t.Fatal(err)
	}
	took := func(r *report, scenario string) (list []float64) {
		for _, run := range r.Runs {
			if run.Scenario == scenario && run.Relay == ours {
				list = append(list, run.Result.Seconds) // to the nanosecond
			}
		}
		return list
	}
	if a, b := took(before, "three"), took(after, "three"); len(a) != 1 || len(b) != 1 || a[0] != b[0] {
		t.Errorf("want three as it was, got %v and %v", a, b)
	}
	if a, b := took(before, "one"), took(after, "one"); len(a) != 1 || len(b) != 1 || a[0] == b[0] {
		t.Errorf("want one measured again, got %v and %v", a, b)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "**One**") || !strings.Contains(string(text), "**Three**") {
		t.Errorf("want both on the page, got %s, %v", text, err)
	}
	if err := run(t.Context(), []string{"-rounds", "2", "-seconds", "0.05", "-scenarios", "one", "-into", name}, t.Output(), t.Output()); err == nil || !strings.Contains(err.Error(), "cannot stand beside") {
		t.Errorf("want other rounds refused, got %v", err)
	}
}

func TestMissingToolsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := run(t.Context(), nil, t.Output(), t.Output()); err == nil || !strings.Contains(err.Error(), "compare needs cc") {
		t.Errorf("want to be told what is missing, got %v", err)
	}
}
