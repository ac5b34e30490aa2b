package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/bench"
)

// A session measures.
type session struct {
	say        io.Writer
	processors processors
	rounds     int
	each       time.Duration
	programs   programs
	report     *report
}

// newSession builds what is measured in the directory work, and takes the
// processors. Its undo gives them back.
func newSession(ctx context.Context, o options, work string, say io.Writer) (*session, func(), error) {
	s := &session{say: say, rounds: o.rounds, each: o.each, programs: foreignPrograms()}
	if err := s.build(ctx, work); err != nil {
		return nil, nil, err
	}
	help, err := exec.CommandContext(ctx, s.programs.udprelay, "serve", "--help").Output()
	if err != nil {
		return nil, nil, err
	}
	s.programs.senders = strings.Contains(string(help), "--senders ")
	var undo func()
	if s.processors, undo, err = pin(); err != nil {
		return nil, nil, err
	}
	s.report = &report{System: system(), Rounds: o.rounds, Seconds: o.each.Seconds(), Relays: map[string]string{}, Notes: []string{}}
	return s, undo, nil
}

func (s *session) build(ctx context.Context, work string) error {
	source := filepath.Join(work, "limitrelay.c")
	if err := os.WriteFile(source, limitSource, 0o600); err != nil {
		return err
	}
	p := &s.programs
	p.udprelay, p.plainloop, p.limitrelay = filepath.Join(work, "udprelay"), filepath.Join(work, "plainloop"), filepath.Join(work, "limitrelay")
	for _, tool := range []string{"cc", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("compare needs %s: %w", tool, err)
		}
	}
	for _, command := range [][]string{
		{"cc", "-O2", "-o", p.limitrelay, source},
		{"go", "build", "-o", p.udprelay, "udprelay"},
		{"go", "build", "-o", p.plainloop, "udprelay/internal/plainloop/plainloop"},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command[:2], " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// system says what this machine is.
func system() string {
	var name unix.Utsname
	_ = unix.Uname(&name) // cannot fail
	release, _, _ := strings.Cut(unix.ByteSliceToString(name.Release[:]), "-")
	parts := []string{unix.ByteSliceToString(name.Sysname[:]) + " " + release}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, found := strings.Cut(string(text), "model name\t: "); found {
			model, _, _ := strings.Cut(rest, "\n")
			parts = append(parts, model)
		}
	}
	return strings.Join(append(parts, plural(runtime.NumCPU(), "processor"), runtime.Version()), ", ")
}

// leastPaced is how many datagrams a run at a rate has at least.
const leastPaced = 10

// compare measures the relays in the scenarios.
func (s *session) compare(ctx context.Context, scenarios []scenario, relays []candidate) error {
	for _, c := range relays {
		s.report.Relays[c.name] = c.about
	}
	for _, scenario := range scenarios {
		if scenario.latency {
			saturation, err := s.saturation(ctx)
			if err != nil {
				return err
			}
			scenario.rate = max(saturation/10, leastPaced/s.each.Seconds())
		}
		taking := slices.DeleteFunc(slices.Clone(relays), func(c candidate) bool { return !c.takes(scenario) })
		if err := s.scenario(ctx, scenario, taking); err != nil {
			return err
		}
	}
	return nil
}

// scenario measures the relays in turn, round after round. A foreign one that
// fails is left out from then on, and a note says so.
func (s *session) scenario(ctx context.Context, scenario scenario, relays []candidate) error {
	failed := map[string]bool{}
	for round := range s.rounds {
		for _, c := range turns(relays, round) {
			if failed[c.name] {
				continue
			}
			result, err := s.one(ctx, scenario, c)
			switch {
			case ctx.Err() != nil:
				s.report.end(scenario.Name, round, ctx.Err())
				return ctx.Err()
			case err != nil && c.foreign:
				failed[c.name] = true
				s.report.Notes = append(s.report.Notes, fmt.Sprintf("`%s` was left out of %s in round %d: %v", c.name, scenario.Name, round+1, firstLine(err)))
				fmt.Fprintf(s.say, "%-8s %d/%d %-16s left out: %v\n", scenario.Name, round+1, s.rounds, c.name, err)
				continue
			case err != nil:
				err = fmt.Errorf("%s, %s: %w", scenario.Name, c.name, err)
				s.report.end(scenario.Name, round, err)
				return err
			}
			s.report.Runs = append(s.report.Runs, benchRun{scenario.Name, c.name, round, result})
			fmt.Fprintf(s.say, "%-8s %d/%d %-16s %s\n", scenario.Name, round+1, s.rounds, c.name, summary(result))
		}
	}
	return nil
}

// summary says in a line what was measured.
func summary(r bench.Result) string {
	text := fmt.Sprintf("%12s deliveries/s %8s ns", number(r.DeliveredPerSecond), number(perDelivery(r)))
	if r.Latency != nil {
		text += fmt.Sprintf("   p50 %v p99 %v", r.Latency.P50.Round(time.Microsecond), r.Latency.P99.Round(time.Microsecond))
	}
	if r.Lost > 0 {
		text += fmt.Sprintf("   %s lost", percent(r.LossRatio))
	}
	return text
}

// saturation returns how many datagrams a second plainWay can take in a burst:
// of this session, if that was measured.
func (s *session) saturation(ctx context.Context) (float64, error) {
	burst, err := scenarioOf("burst")
	if err != nil {
		return 0, err
	}
	out := s.report.figure(burst.Name, plainWay, deliveries).Median
	if !(out > 0) {
		way, err := choose(candidates(s.programs), candidateName, []string{plainWay}, "relay")
		if err != nil {
			return 0, err
		}
		result, err := s.one(ctx, burst, way[0])
		if err != nil {
			return 0, err
		}
		out = result.DeliveredPerSecond
	}
	if !(out > 0) {
		return 0, errors.New(plainWay + " has delivered nothing, so that there is no tenth of it")
	}
	return out / float64(burst.receivers), nil
}

// one starts a relay, measures it and ends it. It is tried twice, for somebody
// else may take a port.
func (s *session) one(ctx context.Context, scenario scenario, c candidate) (bench.Result, error) {
	result, err := s.once(ctx, scenario, c)
	if err != nil && ctx.Err() == nil {
		result, err = s.once(ctx, scenario, c)
	}
	return result, err
}

func (s *session) once(ctx context.Context, scenario scenario, c candidate) (result bench.Result, err error) {
	config, err := scenario.config()
	if err != nil {
		return result, err
	}
	config.Duration = s.each
	count := 1
	if c.static {
		count += scenario.receivers
	}
	port, err := freePorts(count)
	if err != nil {
		return result, err
	}
	for i := 1; i < count; i++ {
		config.Static = append(config.Static, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port+uint16(i)))
	}
	relay, err := startChild(ctx, s.processors.relay, port, c.command(port, config.Static), environ())
	if err != nil {
		return result, err
	}
	defer relay.stop()
	config.Relay, config.PID = relay.addr, relay.pid
	return benchOf(ctx, config, relay)
}

// benchOf measures relays that run. That some of the load was not measured, or
// nothing was delivered, is an error.
func benchOf(ctx context.Context, config bench.Config, relays ...*child) (bench.Result, error) {
	result, err := bench.Run(ctx, config, nil)
	switch {
	case err != nil:
		for _, relay := range relays {
			if relay.ended() {
				err = fmt.Errorf("%w; the relay has ended: %s", err, relay.said)
			}
		}
		return result, err
	case ctx.Err() != nil:
		return result, ctx.Err()
	case result.Interrupted:
		return result, errors.New(strings.Join(result.Notes, "; "))
	case result.Delivered == 0:
		return result, errors.New("nothing was delivered")
	}
	return result, nil
}
