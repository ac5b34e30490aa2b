package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"udprelay/internal/capture"
	"udprelay/internal/client"
	"udprelay/internal/proof"
)

// replayLinger is how long replay stays after the last datagram, for a host
// where nothing listens to say so.
// And before the first, for a relay that wants a proof to say so.
var replayLinger = 100 * time.Millisecond

const (
	exitDataErr = 65 // EX_DATAERR

	// proofPatience is how long a relay that wants proofs may leave a client
	// without an answer. The client asks again after 1, 3, 7 and 15 seconds.
	proofPatience = 20 * time.Second
)

const replayDescription = `Sends the payloads of the UDP datagrams in FILE to HOST:PORT, with the pauses
that they had. FILE is pcap or pcapng, also compressed by gzip, such as udprelay
tap, tcpdump, dumpcap and Wireshark write; "-" is standard input. IPv4 and IPv6
over Ethernet (VLANs too), Linux cooked, raw IP and loopback are read. What is
not UDP, fragments, and packets of which the capture kept only a part are
skipped and counted.

HOST:PORT is taken for a relay: replay joins it with an empty datagram, keeps
its place, and gives the proof that it may want, as join does, before the first
datagram leaves; it ends at once, with exit code 69, where the relay does not
accept the proof. With --plain
nothing leaves but what is in FILE, for any other program. Answers are read and
dropped.

All leaves from one socket. With --each-source there is one for each address and
port that the file has datagrams from, so that a relay sees as many peers; of
more than 1000 the others are skipped. Where the relay wants proofs, all waits
while a socket gives its own; a relay answers an address a few times a second.

The pauses are counted from the first datagram, so delays do not add up. Where
the times in the file go back, datagrams follow at once.

It ends with the file, after --count datagrams, or when it is stopped (Ctrl-C,
SIGTERM); exit code 0 means that all left this machine, 65 that the file is
damaged, 66 that it cannot be read, 69 that a datagram could not be sent or was
refused.

Examples:
  udprelay replay room.pcapng localhost:9000                    # as it was
  udprelay replay --speed 10 --max-gap 1s room.pcapng localhost:9000
  udprelay replay --speed max --loop 0 room.pcapng localhost:9000 # until Ctrl-C
  udprelay replay --port 2055 --plain trace.pcap collector.example:2055
  ssh router tcpdump -w - udp port 2055 | udprelay replay - localhost:9000`

func replayCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "replay",
		Usage:       "play the datagrams of a pcap or pcapng file to a relay",
		ArgsUsage:   "FILE HOST:PORT",
		Description: replayDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "speed", Value: "1", Usage: "play `FACTOR` times as fast; 0 or max: as fast as possible"},
			&cli.IntFlag{Name: "loop", Value: 1, Usage: "play the file `N` times; 0: again and again"},
			&cli.Uint64Flag{Name: "count", Usage: "end after `N` datagrams; 0: do not"},
			&cli.DurationFlag{Name: "max-gap", Usage: "shorten pauses in the file that are longer than `DURATION`; 0s: none"},
			&cli.IntSliceFlag{Name: "port", Usage: "only datagrams that went to `PORT`; may be repeated"},
			&cli.IntSliceFlag{Name: "source-port", Usage: "only datagrams that came from `PORT`; may be repeated"},
			&cli.BoolFlag{Name: "each-source", Usage: "a socket for each source in the file", DisableDefaultText: true},
			&cli.BoolFlag{Name: "plain", Usage: "send what is in the file and nothing else", DisableDefaultText: true},
			&cli.StringFlag{Name: "secret-file", Usage: "`FILE` with the secret, for a relay that wants one"},
		},
		Action: func(c *cli.Context) error {
			player, err := checkReplay(c)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // so that a second signal kills
			return replay(ctx, world, c, player)
		},
	}
}

// replay plays the file; ctx is done when a signal has stopped it.
func replay(ctx context.Context, world World, c *cli.Context, player *capture.Player) error {
	target := &replayTarget{address: c.Args().Get(1), plain: c.Bool("plain")}
	if name := c.String("secret-file"); name != "" {
		secret, err := proof.ReadSecret(name)
		if err != nil {
			return &noSecret{name, err}
		}
		target.secret = secret
	}
	player.Dial = target.dial
	var size int64 // of the file; 0: not known
	player.Open = func() (io.ReadCloser, error) {
		if c.Args().First() == "-" {
			return interruptible(ctx, world.Stdin), nil
		}
		file, info, err := openInput(ctx, c.Args().First())
		if err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		return file, err
	}
	bar := newReplayBar(world.Stderr, player.Name)
	if isTerminal(world.Stderr) {
		player.Progress = func(p capture.Progress) { bar.show(p, size*int64(player.Passes)) }
	}
	played, err := player.Play(ctx)
	bar.end()
	file := (*capture.FileError)(nil)
	isFile := errors.As(err, &file)
	if played.Packets > 0 || err == nil || isFile && !errors.Is(err, capture.ErrNotCapture) {
		fmt.Fprintf(world.Stderr, "udprelay: %v\n", &played)
	}
	if isFile {
		return badCapture{file}
	}
	if err != nil {
		return err
	}
	return target.verdict(played)
}

// A replayTarget is where a file is played to.
type replayTarget struct {
	address string         // as it was given
	at      netip.AddrPort // the first address that was found; zero: none yet
	plain   bool
	secret  []byte

	mu      sync.Mutex
	clients []*client.Client
	plains  []*capture.PlainSender
}

// dial opens a socket. All go to the address that the first one found, until a
// client has to look the relay up again.
func (t *replayTarget) dial(ctx context.Context) (capture.Sender, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.plain {
		sender, err := capture.DialPlain(ctx, t.address)
		if err != nil {
			return nil, &unreachable{err, ""}
		}
		t.address = sender.RemoteAddr().String()
		t.plains = append(t.plains, sender)
		return sender, nil
	}
	relay, err := client.Dial(ctx, t.address, client.Options{At: t.at, Secret: t.secret})
	if err != nil {
		return nil, &unreachable{err, ""}
	}
	if !t.at.IsValid() {
		t.at = relay.RemoteAddr()
	}
	t.clients = append(t.clients, relay)
	return joinedSender{relay, t, len(t.clients) == 1}, nil
}

// verdict returns the error of what was lost, as far as it is known.
func (t *replayTarget) verdict(played capture.Played) error {
	var refused, lost uint64
	var problem error
	var shutOut *client.ProofError
	for _, c := range t.clients {
		health := c.Health()
		refused += health.PayloadsRefused
		lost += health.PayloadsLost
		if why := c.Reach().Problem; why != nil && !client.IsRefused(why) {
			problem = why
		}
		if why := c.ProofError(); why != nil {
			shutOut = why
		}
	}
	for _, s := range t.plains {
		refused += s.Refused()
	}
	switch {
	case shutOut != nil:
		return t.shutOut(shutOut)
	case played.Failed > 0:
		return &unreachable{fmt.Errorf("%d datagrams could not be sent: %w", played.Failed, played.FirstErr), ""}
	case refused > 0 && problem != nil:
		return &unreachable{fmt.Errorf("%s could not be reached (%w); datagrams were lost", t.address, problem), ""}
	case refused > 0:
		return &unreachable{fmt.Errorf("%s refused datagrams %d times: nothing listens there", t.address, refused), "is the relay running there? start one with: udprelay serve"}
	case lost > 0:
		return &unreachable{fmt.Errorf("%d datagrams were lost before the relay at %s had the proof that it wants", lost, t.address), ""}
	}
	return nil
}

// joinedSender is a client that gives the proof that the relay may want before
// it is sent anything, and whose last payloads may wait for another proof.
type joinedSender struct {
	*client.Client
	target *replayTarget
	first  bool // of the target's
}

// Busy reports whether they do.
func (s joinedSender) Busy() bool {
	health := s.Health()
	return health.Proving && !health.ShutOut
}

// Ready waits until the relay has accepted a proof, if it wants one. Whether it
// does, the first client finds out: a relay that wants none is silent.
func (s joinedSender) Ready(ctx context.Context) error {
	patience := proofPatience
	if s.first {
		patience = replayLinger
	} else if !s.target.clients[0].Health().WantsProof {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		health := s.Health()
		switch {
		case health.ShutOut:
			return s.target.shutOut(s.ProofError())
		case health.WantsProof && !health.Proving:
			return nil
		case health.WantsProof && s.first: // it will be in or shut out
			timer.Stop()
		}
		select {
		case <-s.Proofs():
		case <-timer.C:
			if s.first {
				return nil
			}
			return s.target.shutOut(&client.ProofError{Addr: s.RemoteAddr(), Secret: len(s.target.secret) > 0})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// shutOut is the error of a relay that does not accept a proof.
func (t *replayTarget) shutOut(why *client.ProofError) error {
	return &unreachable{why, proofHint(why)}
}

// interruptible returns what r reads until ctx is done, though a read of r may
// go on.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	read, write := io.Pipe()
	go func() {
		_, err := io.Copy(write, r)
		write.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { read.CloseWithError(ctx.Err()) })
	return read
}

// openInput opens a file. One that is not regular, such as a FIFO, may have no
// writer yet, or one that is silent: neither to open nor to read it outlasts ctx.
func openInput(ctx context.Context, name string) (*os.File, os.FileInfo, error) {
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened)
	go func() {
		file, err := os.Open(name)
		select {
		case done <- opened{file, err}:
		case <-ctx.Done():
			file.Close() // of nil it does nothing
		}
	}()
	var file *os.File
	select {
	case o := <-done:
		if o.err != nil {
			return nil, nil, &noInput{o.err}
		}
		file = o.file
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = &os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	if err != nil {
		file.Close()
		return nil, nil, &noInput{err}
	}
	if !info.Mode().IsRegular() {
		context.AfterFunc(ctx, func() { file.Close() })
	}
	return file, info, nil
}

// A replayBar is the progress bar. It begins when the size of the file is
// known.
type replayBar struct {
	to   io.Writer
	name string
	bar  *progressbar.ProgressBar
}

func newReplayBar(to io.Writer, name string) *replayBar { return &replayBar{to: to, name: name} }

// show shows how far it is; total is 0 where nobody knows.
func (b *replayBar) show(p capture.Progress, total int64) {
	if total <= 0 {
		total = -1
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(b.to),
			progressbar.OptionSetDescription(b.name),
			progressbar.OptionShowBytes(true),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSpinnerType(14),
			progressbar.OptionSetSpinnerChangeInterval(0),
		)
	}
	if total > 0 {
		p.Read = min(p.Read, total-1) // the bar ends with end
	}
	b.bar.Describe(fmt.Sprintf("%s, %d sent", b.name, p.Sent))
	_ = b.bar.Set64(p.Read) // a terminal that is gone is no failure
}

// end takes the bar away.
func (b *replayBar) end() {
	if b.bar != nil {
		_ = b.bar.Exit()
		fmt.Fprint(b.to, "\r\x1b[K")
	}
}

// checkReplay refuses command lines that make no sense, and returns the player
// that the others want, without the file and the target.
func checkReplay(c *cli.Context) (*capture.Player, error) {
	refuse := func(format string, args ...any) (*capture.Player, error) {
		return nil, &usageFailure{fmt.Sprintf(format, args...), helpHint(c)}
	}
	switch c.NArg() {
	case 0:
		return nil, &usageFailure{"no file is named", "want FILE HOST:PORT, such as room.pcapng localhost:9000"}
	case 1:
		return nil, &usageFailure{"no relay is named", "want FILE HOST:PORT, such as " + c.Args().First() + " localhost:9000"}
	}
	if stray := c.Args().Get(2); strings.HasPrefix(stray, "-") {
		return nil, &usageFailure{fmt.Sprintf("unexpected argument %q", stray), "flags go before FILE"}
	}
	if err := noMoreThan(c, 2); err != nil {
		return nil, err
	}
	if bad := (*client.AddressError)(nil); errors.As(client.CheckAddress(c.Args().Get(1)), &bad) {
		return nil, &usageFailure{bad.Error(), "want HOST:PORT, such as " + bad.Want}
	}
	speed, err := parseSpeed(c.String("speed"))
	if err != nil {
		return refuse("%v", err)
	}
	player := &capture.Player{
		Name:      c.Args().First(),
		Speed:     speed,
		MaxGap:    c.Duration("max-gap"),
		Passes:    c.Int("loop"),
		Count:     c.Uint64("count"),
		PerSource: c.Bool("each-source"),
		Linger:    replayLinger,
	}
	if player.Name == "-" {
		player.Name = "standard input"
	}
	if player.ToPorts, err = parsePorts("port", c.IntSlice("port")); err != nil {
		return refuse("%v", err)
	}
	if player.FromPorts, err = parsePorts("source-port", c.IntSlice("source-port")); err != nil {
		return refuse("%v", err)
	}
	switch {
	case player.Passes < 0:
		return refuse("--loop %d: want 0 or more", player.Passes)
	case player.Passes != 1 && c.Args().First() == "-":
		return refuse("--loop %d: standard input can be played only once", player.Passes)
	case player.MaxGap < 0:
		return refuse("--max-gap %v: want 0s or more", player.MaxGap)
	case c.IsSet("secret-file") && c.String("secret-file") == "":
		return refuse("--secret-file names no file")
	case c.IsSet("secret-file") && c.Bool("plain"):
		return refuse("--secret-file has no meaning with --plain, which gives no proof")
	}
	return player, nil
}

func parseSpeed(s string) (float64, error) {
	if s == "max" {
		return 0, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(s, "x"), 64)
	if err != nil || speed < 0 || math.IsInf(speed, 0) || math.IsNaN(speed) {
		return 0, fmt.Errorf("--speed %s: want a factor, such as 2 or 0.5, or max", s)
	}
	return speed, nil
}

func parsePorts(flag string, numbers []int) ([]uint16, error) {
	var ports []uint16
	for _, n := range numbers {
		if n < 0 || n > math.MaxUint16 {
			return nil, fmt.Errorf("--%s %d: want 0 to 65535", flag, n)
		}
		ports = append(ports, uint16(n))
	}
	return ports, nil
}

// noInput is a file that cannot be read.
type noInput struct{ err error }

func (e *noInput) Error() string { return e.err.Error() }
func (e *noInput) Unwrap() error { return e.err }
func (e *noInput) ExitCode() int { return exitNoInput }

// badCapture is a file that is read, but is no capture or a damaged one.
type badCapture struct{ *capture.FileError }

func (badCapture) ExitCode() int { return exitDataErr }
