package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"udprelay/internal/bench"
)

//go:embed limitrelay/limitrelay.c
var limitSource []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, context.Canceled) && !errors.As(err, new(*early)):
		fmt.Fprintln(os.Stderr, "compare: stopped; nothing was measured")
		stop()
		os.Exit(1)
	case err != nil:
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// The most of each.
const (
	mostRounds = 100
	mostEach   = 10 * time.Minute
)

// Options are what the command line says.
type options struct {
	scenarios, relays []string // empty: all
	rounds            int
	each              time.Duration
	size, link        bool
	counts            []int // of peers, with size
	page, images      string
	from, json, into  string
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	list := func(into *[]string) func(string) error {
		return func(text string) error {
			*into = nil
			for item := range strings.SplitSeq(text, ",") {
				if item == "" {
					return errors.New("a name is empty")
				}
				*into = append(*into, item)
			}
			return nil
		}
	}
	f.Func("scenarios", "`NAMES` with commas between: burst, paced, mixed, latency, one, three (default all)", list(&o.scenarios))
	f.Func("relays", "`NAMES` with commas between (default all that are here)", list(&o.relays))
	f.IntVar(&o.rounds, "rounds", 5, "`NUMBER` of times that each relay is measured")
	seconds := f.Float64("seconds", 2, "`SECONDS` of each run")
	f.BoolVar(&o.size, "size", false, "measure udprelay with many peers, instead of comparing relays")
	f.BoolVar(&o.link, "link", false, "measure two nodes of a cluster beside one relay, instead of comparing relays")
	counts := "1000,10000,100000"
	f.StringVar(&counts, "peers", counts, "with -size, `NUMBERS` of learned peers")
	f.StringVar(&o.page, "page", "", "`FILE` to write tables into, between its marks (default: print them)")
	f.StringVar(&o.images, "images", "docs/images", "`DIRECTORY` for plots, with -page")
	f.StringVar(&o.from, "from", "", "measure nothing: show what `FILE` says, which -json has written")
	f.StringVar(&o.json, "json", "", "write all results to `FILE`")
	f.StringVar(&o.into, "into", "", "put the results into `FILE`, which -json has written, in place of those of the same scenarios; show all that it has then")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for text := range strings.SplitSeq(counts, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > bench.MostPeers {
			return o, fmt.Errorf("-peers %s: want numbers from 1 to %d", counts, bench.MostPeers)
		}
		o.counts = append(o.counts, n)
	}
	o.each = time.Duration(*seconds * float64(time.Second))
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.rounds < 1 || o.rounds > mostRounds:
		return o, fmt.Errorf("-rounds %d: want 1 to %d", o.rounds, mostRounds)
	case !(*seconds > 0) || *seconds > mostEach.Seconds() || o.each <= 0:
		return o, fmt.Errorf("-seconds %v: want more than 0, up to %v", *seconds, mostEach.Seconds())
	case o.size && o.link:
		return o, errors.New("-size and -link are two measurements: want one of them")
	case (o.size || o.link) && (len(o.scenarios) > 0 || len(o.relays) > 0):
		return o, errors.New("-size and -link measure udprelay alone, in no scenario")
	case o.from != "" && (o.size || o.link || o.json != "" || o.into != ""):
		return o, errors.New("with -from nothing is measured, so that there is nothing for -size, -link, -json or -into")
	case o.from == "" && len(o.relays) > 0 && (o.page != "" || o.into != ""):
		return o, errors.New("-relays with -page or -into would drop the figures of the other relays, whose ratios are those of the same rounds; want all relays")
	case o.from == "" && len(o.scenarios) > 0 && o.page != "" && o.into == "":
		return o, errors.New("-scenarios with -page would drop the figures of the other scenarios; want -into FILE as well, with the file that has them")
	}
	for _, name := range o.scenarios {
		if _, err := scenarioOf(name); err != nil {
			return o, err
		}
	}
	return o, nil
}

// run is the program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.from != "" {
		r, err := readReport(o.from)
		if err != nil {
			return err
		}
		_, err = r.keep(o, stdout)
		return err
	}
	var all *report
	if o.into != "" {
		if all, err = readReport(o.into); err != nil {
			return err
		}
	}
	if err := o.check(); err != nil {
		return err
	}
	r, ended := measureAll(ctx, o, all, stderr)
	if ended != nil && ctx.Err() != nil {
		ended = ctx.Err() // whatever it made fail
	}
	if r.isEmpty() {
		return ended
	}
	if all != nil {
		all.replace(r)
		r = all
	}
	where, err := r.keep(o, stdout)
	if ended != nil {
		ended = &early{ended, where}
	}
	return errors.Join(ended, err)
}
