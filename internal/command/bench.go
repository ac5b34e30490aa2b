package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/bench"
	"udprelay/internal/client"
	"udprelay/internal/proof"
)

// benchLatencyPeers is how many peers measure latency where nothing else is said.
const benchLatencyPeers = 8

const benchDescription = `Has peers join a relay, sends datagrams through it for a time, and says how many
went in and came out, what was lost, how late they were and what it cost.

Without HOST:PORT it starts a relay of its own, with the default configuration
and no limits for peers, and ends it. Flags after -- are for that one, as for
udprelay serve. With HOST:PORT it loads a relay that runs; with --pid it also
measures that one's process, if it is on this machine.

At a --rate, datagrams leave at times that are set beforehand and wait for
nothing, and latency counts from those times: what a relay that stalls makes late
is late in the figures, too. Without, as many leave as the relay relays, with at
most about 120 under way, so that its queue does not overflow; with --flood all
that one thread can send, and what is lost is counted.

Receivers drop datagrams in the kernel, which counts them. A few measure latency
and spread, the time from the first receiver of a datagram to the last, with the
kernel's time stamps. It needs Linux.

This is a load: a relay outside of this machine and private networks is only
loaded with --yes.

It ends after --duration; when it is stopped (Ctrl-C, SIGTERM), the result is of
what was sent until then. Exit code 0 means that it measured, whatever came out;
69 that no relay answers or lets the peers in.

Examples:
  udprelay bench                                # what a relay can relay here
  udprelay bench --rate 1000                    # how late it is at 1000 datagrams a second
  udprelay bench --peers 20 --senders 20 --size 64:50,200:30,1400:20
  udprelay bench --json -- --trains off         # a relay that is started with a flag
  udprelay bench --rate 500 --pid "$(pidof udprelay)" localhost:9000`

func benchCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "bench",
		Usage:       "measure a relay: throughput, loss, latency, cost",
		ArgsUsage:   "[HOST:PORT]",
		Description: benchDescription,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "peers", Value: 100, Usage: "`NUMBER` of peers that only receive"},
			&cli.StringFlag{Name: "receivers-at", Usage: "those join the relay at `HOST:PORT`, another node of the cluster"},
			&cli.IntFlag{Name: "senders", Value: 1, Usage: "`NUMBER` of peers that take turns to send, and receive from each other"},
			&cli.StringFlag{Name: "size", Value: "200", Usage: "`BYTES` of a datagram; a range such as 40-400; or several with weights: 64:50,200:30"},
			&cli.Float64Flag{Name: "rate", Usage: "send `NUMBER` datagrams a second, all senders together; 0: as many as are relayed", DefaultText: "0"},
			&cli.BoolFlag{Name: "flood", Usage: "send all this machine can, and count what is lost", DisableDefaultText: true},
			&cli.DurationFlag{Name: "duration", Aliases: []string{"d"}, Value: 5 * time.Second, Usage: "send for `DURATION`"},
			&cli.IntFlag{Name: "latency-peers", Usage: "`NUMBER` of peers that measure latency", DefaultText: "8 with --rate, else 0"},
			&cli.BoolFlag{Name: "trains", Usage: "senders put datagrams of equal size into trains", DisableDefaultText: true},
			&cli.StringFlag{Name: "secret-file", Usage: "`FILE` with the secret, for a relay that wants one"},
			&cli.IntFlag{Name: "pid", Usage: "`NUMBER` of the process of the relay at HOST:PORT, to measure it"},
			&cli.BoolFlag{Name: "yes", Usage: "load a relay that is on the internet", DisableDefaultText: true},
			&cli.BoolFlag{Name: "json", Usage: "print the result as JSON", DisableDefaultText: true},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			config, err := checkBench(c)
			if err != nil {
				return err
			}
			if name := c.String("secret-file"); name != "" {
				if config.Secret, err = proof.ReadSecret(name); err != nil {
					return &noSecret{name, err}
				}
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // so that a second signal kills
			return runBench(ctx, world, c, config)
		},
	}
}

// runBench finds or starts the relay, and measures it.
func runBench(ctx context.Context, world World, c *cli.Context, config bench.Config) (err error) {
	own := startsRelay(c)
	if !own {
		if config.Relay, err = benchTarget(ctx, c, c.Args().First()); err != nil {
			return err
		}
		if at := c.String("receivers-at"); at != "" {
			if config.ReceiversAt, err = benchTarget(ctx, c, at); err != nil {
				return err
			}
		}
		return measure(ctx, world, c, config, nil)
	}
	var log warnings
	program, err := os.Executable()
	if err != nil {
		return err
	}
	relay, err := bench.Start(ctx, &log, benchRelay(program, c.Args().Slice()), benchEnviron(world.Environ))
	if failure := (*bench.StartError)(nil); errors.As(err, &failure) {
		said, hint, _ := strings.Cut(strings.ReplaceAll(failure.Said, "udprelay: ", ""), "\nhint: ")
		return &noStart{&bench.StartError{Said: said}, hint}
	}
	if err != nil {
		return benchFailure(err, true)
	}
	config.Relay, config.PID = relay.Addr, relay.PID
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-relay.Done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = measure(ctx, world, c, config, &log)
	select {
	case <-relay.Done:
		err = errors.Join(err, errors.New("the relay has ended before the bench"))
	default:
	}
	cancel()
	<-ended
	return errors.Join(err, relay.Stop())
}

// measure runs the bench and prints what came out. Own is the log of a relay
// that was started for it.
func measure(ctx context.Context, world World, c *cli.Context, config bench.Config, own *warnings) error {
	bar := &benchBar{to: world.Stderr, duration: config.Duration}
	var progress func(bench.Snapshot)
	if !c.Bool("quiet") && isTerminal(world.Stderr) {
		progress = bar.show
	}
	result, err := bench.Run(ctx, config, progress)
	bar.end()
	for _, line := range own.list() {
		fmt.Fprintf(world.Stderr, "udprelay: the relay says: %s\n", line)
	}
	if err != nil {
		return benchFailure(err, own != nil)
	}
	if c.Bool("json") {
		text, err := json.Marshal(result)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(world.Stdout, "%s\n", text)
		return err
	}
	_, err = fmt.Fprintln(world.Stdout, strings.Join(benchTable(&result, own != nil), "\n"))
	return err
}

// benchFailure returns err with the way out.
func benchFailure(err error, own bool) error {
	none, some, wrong := (*bench.NoRelayError)(nil), (*bench.JoinError)(nil), (*client.ProofError)(nil)
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("stopped before all peers had joined; nothing was measured")
	case errors.As(err, &none) && own:
		return &unreachable{err, "do the flags after -- let peers on this machine send and receive?"}
	case errors.As(err, &none):
		return &unreachable{err, "is the relay running there, and do its access rules let this host send and receive?"}
	case errors.As(err, &some):
		return &unreachable{err, "its configuration may allow no more: peers.max, peers.max_per_address, peers.joins_per_second_per_address"}
	case errors.As(err, &wrong):
		return &unreachable{err, proofHint(wrong)}
	}
	return err
}

// startsRelay reports whether the command line names no relay.
func startsRelay(c *cli.Context) bool {
	return c.NArg() == 0 || strings.HasPrefix(c.Args().First(), "-")
}

// benchRelay returns the command line of a relay that a bench starts.
func benchRelay(program string, flags []string) []string {
	line := []string{program, "serve", "--listen", "127.0.0.1:0", "--max-peers", "0", "--expiry", "2h",
		"--admin-socket", "none", "--admin-http", "none", "--state-file", "none"}
	line = append(line, flags...)
	return append(line, "--log-level", "info", "--log-format", "text") // it says where it listens
}

// benchEnviron returns the environment of that relay: no limits, as all its
// peers are on this host, and nothing of the configuration of another one.
func benchEnviron(environ []string) []string {
	var kept []string
	for _, variable := range environ {
		if name, _, _ := strings.Cut(variable, "="); !strings.HasPrefix(name, "UDPRELAY_") && name != "NOTIFY_SOCKET" && name != "JOURNAL_STREAM" {
			kept = append(kept, variable)
		}
	}
	return append(kept, "UDPRELAY_PEERS_MAX_PER_ADDRESS=0", "UDPRELAY_PEERS_JOINS_PER_SECOND=0", "UDPRELAY_PEERS_JOINS_PER_SECOND_PER_ADDRESS=0")
}

// benchTarget returns the address of a relay that a bench may load.
func benchTarget(ctx context.Context, c *cli.Context, address string) (netip.AddrPort, error) {
	relay, err := relayAddress(ctx, address)
	if err != nil {
		return relay, err
	}
	if ip := relay.Addr(); !c.Bool("yes") && !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() {
		return relay, &usageFailure{fmt.Sprintf("%s is on the internet, and a bench is a load that others may feel", ip), "with the consent of those who run it, say --yes"}
	}
	return relay, nil
}

// relayAddress returns the address of a relay, the IPv4 one where there are
// several, as of localhost.
func relayAddress(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, &unreachable{err, ""}
	}
	best := found[0].Unmap()
	for _, ip := range found {
		if ip = ip.Unmap(); ip.Is4() && !best.Is4() {
			best = ip
		}
	}
	return netip.AddrPortFrom(best, uint16(number)), nil
}

// checkBench refuses command lines that make no sense. What it returns lacks
// the address of the relay.
func checkBench(c *cli.Context) (config bench.Config, err error) {
	refuse := func(format string, args ...any) (bench.Config, error) {
		return config, &usageFailure{fmt.Sprintf(format, args...), helpHint(c)}
	}
	if !startsRelay(c) {
		if stray := c.Args().Get(1); strings.HasPrefix(stray, "-") {
			return config, &usageFailure{fmt.Sprintf("unexpected argument %q", stray), "flags go before HOST:PORT; those after -- are for a relay that bench starts, without HOST:PORT"}
		}
		if err := noMoreThan(c, 1); err != nil {
			return config, err
		}
		if bad := (*client.AddressError)(nil); errors.As(client.CheckAddress(c.Args().First()), &bad) {
			return config, &usageFailure{bad.Error(), "want HOST:PORT, such as " + bad.Want}
		}
	}
	if at := c.String("receivers-at"); c.IsSet("receivers-at") {
		if startsRelay(c) {
			return refuse("--receivers-at is for relays that run: want HOST:PORT of another node, where the senders join")
		}
		if bad := (*client.AddressError)(nil); errors.As(client.CheckAddress(at), &bad) {
			return config, &usageFailure{"--receivers-at: " + bad.Error(), "want HOST:PORT, such as " + bad.Want}
		}
	}
	config = bench.Config{
		Relay: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9), // to check the others
		Peers: c.Int("peers"), Senders: c.Int("senders"), Rate: c.Float64("rate"), Flood: c.Bool("flood"),
		Duration: c.Duration("duration"), LatencyPeers: c.Int("latency-peers"), Trains: c.Bool("trains"), PID: c.Int("pid"),
	}
	if !c.IsSet("latency-peers") && config.Rate > 0 {
		config.LatencyPeers = benchLatencyPeers
	}
	if config.Mix, err = bench.ParseMix(c.String("size")); err != nil {
		return refuse("--size %s: %v", c.String("size"), err)
	}
	switch {
	case c.IsSet("pid") && startsRelay(c):
		return refuse("--pid is for a relay that runs, at HOST:PORT")
	case c.IsSet("pid") && config.PID < 1:
		return refuse("--pid %d is no process", config.PID)
	case c.IsSet("secret-file") && c.String("secret-file") == "":
		return refuse("--secret-file names no file")
	}
	if err := config.Check(); err != nil {
		return refuse("%v", err)
	}
	return config, nil
}

// noStart is a relay that could not be started.
type noStart struct {
	error
	hint string // of that relay
}

func (e *noStart) Unwrap() error { return e.error }
func (e *noStart) Hint() string  { return e.hint }

// warnings keeps what a relay warns of.
type warnings struct {
	mu      sync.Mutex
	lines   []string
	leftOut int
}

// mostWarnings is how many lines are kept.
const mostWarnings = 10

func (w *warnings) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if text == "" || strings.Contains(text, " level=INFO ") {
		return len(line), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == mostWarnings {
		w.leftOut++
	} else {
		w.lines = append(w.lines, printable(text))
	}
	return len(line), nil
}

// list returns what was kept; nil has nothing.
func (w *warnings) list() []string {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leftOut > 0 {
		return append(w.lines, fmt.Sprintf("... and %d lines more", w.leftOut))
	}
	return w.lines
}
