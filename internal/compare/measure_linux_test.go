package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

func needs(t *testing.T) {
	t.Helper()
	testneed.Tool(t, "cc")
	testneed.Tool(t, "go")
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	testneed.True(t, all.Count() >= 2, "two processors, not %d", all.Count())
}

// What comes out of real relays, in runs too short to say anything of speed.
func TestRelaysSideBySide(t *testing.T) {
	needs(t)
	name := filepath.Join(t.TempDir(), "report.json")
	var table strings.Builder
	relays := []string{ours, limitGSO, limitMMsg, plainWay, "plainloop"}
	args := []string{"-rounds", "2", "-seconds", "0.05", "-scenarios", "burst,latency,one", "-relays", strings.Join(relays, ","), "-json", name}
	if err := run(t.Context(), args, &table, t.Output()); err != nil {
		t.Fatal(err)
	}
	r, err := readReport(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 * 2 * len(relays); len(r.Runs) != want {
		t.Errorf("want %d runs, got %d", want, len(r.Runs))
	}
	for _, run := range r.Runs {
		if run.Result.Sent == 0 || run.Result.Delivered == 0 || !(perDelivery(run.Result) > 0) {
			t.Errorf("%s, %s: want deliveries and what they cost, got %+v", run.Scenario, run.Relay, run.Result)
		}
	}
	for _, relay := range relays {
		for _, s := range []string{"burst", "latency", "one"} {
			if got := r.ratio(s, relay, ours, deliveries); got.Rounds != 2 || !(got.Median > 0) {
				t.Errorf("%s, %s: want ratios of two rounds, got %v", s, relay, got)
			}
		}
		if got := r.figure("latency", relay, times(latencyOf, p99)); got.Rounds != 2 || !(got.Median > 0) {
			t.Errorf("%s: want its latency in two rounds, got %v", relay, got)
		}
		if !strings.Contains(table.String(), "\n| "+relay+" | ") {
			t.Errorf("want a line of %s, got\n%s", relay, table.String())
		}
	}
}

func TestManyPeers(t *testing.T) {
	needs(t)
	testneed.Root(t) // for a receive buffer that holds a window
	name := filepath.Join(t.TempDir(), "report.json")
	if err := run(t.Context(), []string{"-size", "-peers", "100,3000", "-rounds", "1", "-seconds", "0.05", "-json", name}, io.Discard, t.Output()); err != nil {
		t.Fatal(err)
	}
	r, err := readReport(name) // which checks that each figure is there
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Size; len(s.Receivers) != 4 || len(s.Senders) != 3 || len(s.Crowds) != 2 || s.Crowds[1].Peers != 3000 {
		t.Errorf("want figures of 4 numbers of receivers, 3 of senders and 2 of peers, got %+v", s)
	}
}

func TestTwoNodes(t *testing.T) {
	needs(t)
	name := filepath.Join(t.TempDir(), "report.json")
	if err := run(t.Context(), []string{"-link", "-rounds", "1", "-seconds", "0.05", "-json", name}, io.Discard, t.Output()); err != nil {
		t.Fatal(err)
	}
	r, err := readReport(name) // which checks the figures
	if err != nil {
		t.Fatal(err)
	}
	if l := r.Link; len(l.Alone) != 2 || len(l.Runs) != len(linkLoads)*len(linkWays) {
		t.Errorf("want figures of the link alone, open and sealed, and of each load and way; got %+v", l)
	}
}

// A foreign relay that does not work costs a note, and not the run.
func TestAForeignRelayThatFailsIsLeftOut(t *testing.T) {
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
	broken := programs{samplicator: "false", udprelay: s.programs.udprelay}
	list, err := choose(candidates(broken), candidateName, []string{ours, "samplicator"}, "relay")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.compare(t.Context(), []scenario{one}, list); err != nil {
		t.Fatal(err)
	}
	if len(s.report.Runs) != 2 || len(s.report.Notes) != 1 || !strings.Contains(s.report.Notes[0], "`samplicator` was left out of one in round 1") {
		t.Errorf("want two runs of udprelay and a note, got %+v", s.report)
	}
}

// When it is stopped, no relay is left.
func TestStoppedLeavesNoChild(t *testing.T) {
	needs(t)
	s, undo, err := newSession(t.Context(), options{rounds: 1, each: mostEach}, t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	port, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := startChild(ctx, s.processors.relay, port, serveCommand(s.programs.udprelay, port), environ())
	if err != nil {
		t.Fatal(err)
	}
	var its unix.CPUSet
	if err := unix.SchedGetaffinity(relay.pid, &its); err != nil || its != only(s.processors.relay) {
		t.Errorf("want the relay on processor %d, got %v, %v", s.processors.relay, its, err)
	}
	if err := relay.pause(ctx); err != nil {
		t.Error(err)
	}
	relay.stop() // also one that stands still
	if open, err := isOpen(port); open || err != nil {
		t.Errorf("want the port closed, got %v, %v", open, err)
	}
	burst, err := scenarioOf("burst")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.compare(ctx, []scenario{burst}, candidates(s.programs)[:1]) }()
	testwait.Until(t, func() bool { return len(children(t)) > 0 }, "want a relay started")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("want %v, got %v", context.Canceled, err)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("want no child left, got %v", left)
	}
}

// children returns the processes that this one has started and that are there.
func children(t *testing.T) (list []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		list = append(list, strings.Fields(string(text))...)
	}
	return list
}

// Nothing but the program of this directory may link the library of plots.
func TestPlotsAreNotLinkedIntoTheRelay(t *testing.T) {
	testneed.Tool(t, "go")
	out, err := exec.Command("go", "list", "-deps", "udprelay").Output()
	if err != nil {
		t.Fatal(err)
	}
	if packages := string(out); strings.Contains(packages, "gonum.org/") || !strings.Contains(packages, "udprelay/relay\n") {
		t.Errorf("want the packages of udprelay, without gonum.org, got\n%s", packages)
	}
}
