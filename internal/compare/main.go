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
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "compare: stopped; nothing was written")
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
	size              bool
	counts            []int // of peers, with size
	page, images      string
	from, json        string
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
	counts := "1000,10000,100000"
	f.StringVar(&counts, "peers", counts, "with -size, `NUMBERS` of learned peers")
	f.StringVar(&o.page, "page", "", "`FILE` to write tables into, between its marks (default: print them)")
	f.StringVar(&o.images, "images", "docs/images", "`DIRECTORY` for plots, with -page")
	f.StringVar(&o.from, "from", "", "measure nothing: show what `FILE` says, which -json has written")
	f.StringVar(&o.json, "json", "", "write all results to `FILE`")
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
	case o.size && (len(o.scenarios) > 0 || len(o.relays) > 0):
		return o, errors.New("-size measures udprelay alone, in no scenario")
	case o.from != "" && (o.size || o.json != ""):
		return o, errors.New("with -from nothing is measured, so that there is nothing for -size or -json")
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
	var r *report
	if o.from != "" {
		r, err = readReport(o.from)
	} else {
		r, err = measureAll(ctx, o, stderr)
	}
	if err != nil {
		return err
	}
	if o.json != "" {
		if err := r.write(o.json); err != nil {
			return err
		}
	}
	if o.page != "" {
		return r.publish(o.page, o.images)
	}
	text := ""
	if len(r.Runs) > 0 {
		text += r.markdown("")
	}
	if r.Size != nil {
		text += r.sizeMarkdown("")
	}
	_, err = io.WriteString(stdout, text)
	return err
}
