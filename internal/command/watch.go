package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"udprelay/internal/admin"
)

const (
	// askWithin is how long the daemon has for an answer.
	askWithin = 5 * time.Second

	watchEvery = time.Second
)

// viewFlags are the flags of a command that shows what a running relay says.
func viewFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print what the relay says as JSON, in one line", DisableDefaultText: true},
		&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again every second, until Ctrl-C", DisableDefaultText: true},
	}
}

// A told is what the daemon has said.
type told interface {
	// lines returns it as lines for a person, who has so much width; 0: any.
	lines(width int) []string

	// object returns what is written as JSON.
	object() any
}

// A view shows what the daemon says, once or again and again.
type view struct {
	world World
	where search
	json  bool

	// ask asks the daemon for what fits into so many lines; 0: any number. It
	// leaves out what only a watch on a screen of that height would not show.
	ask func(ctx context.Context, client admin.Client, lines int) (told, error)
}

// runView runs a view as the flags of c want it.
func runView(c *cli.Context, v view) (err error) {
	if v.where, err = searchOf(v.world, c); err != nil {
		return err
	}
	v.json = c.Bool("json")
	if !c.Bool("watch") {
		return v.once(c.Context)
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second signal kills
	return v.watch(ctx)
}

// find asks for the first time, and returns which daemon it was that answered.
func (v *view) find(ctx context.Context, lines int) (client admin.Client, said told, err error) {
	err = v.where.ask(func(one admin.Client) (err error) {
		client = one
		said, err = v.ask(ctx, one, lines)
		return err
	})
	if admin.Absent(err) {
		err = v.where.unanswered(err, notRunning)
	}
	return client, said, err
}

// once shows what the daemon says now.
func (v *view) once(ctx context.Context) error {
	_, said, err := v.find(ctx, 0)
	if err != nil {
		return err
	}
	v.where.say(v.world.Stderr)
	width, _ := sizeOf(v.world)
	if err := v.print(said, width); err != nil {
		return err
	}
	if partly, ok := said.(interface{ failed() error }); ok { // shown all the same
		return partly.failed()
	}
	return nil
}

func (v *view) print(said told, width int) error {
	var text string
	if v.json {
		object, err := admin.JSON(said.object())
		if err != nil {
			return err
		}
		text = string(object) + "\n"
	} else {
		text = strings.Join(said.lines(width), "\n") + "\n"
	}
	_, err := io.WriteString(v.world.Stdout, text)
	return err
}

// watch shows what the daemon says every second until ctx is done. Before it
// has answered once, an error is the end; after that it may go and come back.
func (v *view) watch(ctx context.Context) error {
	screen := isTerminal(v.world.Stdout) && !v.json
	notices := 1 // lines above what the daemon says
	if screen && v.where.notice() != "" {
		notices++
	}
	room := func() int {
		if _, height := sizeOf(v.world); screen {
			return max(height-1-notices, 1)
		}
		return 0
	}
	client, said, err := v.find(ctx, room())
	if err != nil && ctx.Err() == nil {
		return err
	}
	if !screen {
		v.where.say(v.world.Stderr)
	}
	again := time.NewTicker(watchEvery)
	defer again.Stop()
	var gone time.Time // since when it does not answer; zero: it does
	for first := true; ctx.Err() == nil; first = false {
		now := time.Now()
		switch {
		case err == nil && !gone.IsZero():
			gone = time.Time{}
			if !screen {
				fmt.Fprintln(v.world.Stderr, "udprelay: the relay answers again")
			}
		case err != nil && gone.IsZero():
			gone = now
			if !screen {
				fmt.Fprintf(v.world.Stderr, "udprelay: %s; trying again every second\n", oneLine(err))
			}
		}
		var failed error
		switch {
		case screen:
			failed = v.draw(said, now, gone, err)
		case err == nil:
			failed = v.block(said, now, first)
		}
		if failed != nil {
			return failed
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		var latest told
		if latest, err = v.ask(ctx, client, room()); err == nil {
			said = latest
		}
	}
	return nil
}

// block prints what the daemon says below what it said before.
func (v *view) block(said told, now time.Time, first bool) error {
	if !v.json {
		heading := moment(now) + "\n"
		if !first {
			heading = "\n" + heading
		}
		if _, err := io.WriteString(v.world.Stdout, heading); err != nil {
			return err
		}
	}
	width, _ := sizeOf(v.world)
	return v.print(said, width)
}

// draw draws the screen anew, with what the daemon has said last. It is one
// write, and each line only overwrites the one before, so that nothing flickers.
func (v *view) draw(said told, now, gone time.Time, err error) error {
	width, height := sizeOf(v.world)
	var lines []string
	if notice := v.where.notice(); notice != "" {
		lines = append(lines, printable(notice))
	}
	if gone.IsZero() {
		lines = append(lines, moment(now)+"; every second, Ctrl-C ends")
	} else {
		lines = append(lines, fmt.Sprintf("THE RELAY DOES NOT ANSWER, since %s; trying again", moment(gone)))
		for part := range slices.Chunk([]byte(oneLine(err)), max(width, 1)) { // its end is the reason
			lines = append(lines, string(part))
		}
		lines = append(lines, "What it said before:")
	}
	lines = append(lines, said.lines(width)...)
	if room := max(height-1, 1); len(lines) > room {
		lines = append(lines[:room-1], fmt.Sprintf("(%d more lines)", len(lines)-room+1))
	}
	const home, restOfLine, restOfScreen = "\x1b[H", "\x1b[K", "\x1b[J"
	var frame strings.Builder
	frame.WriteString(home)
	for _, line := range lines {
		frame.WriteString(cut(line, width) + restOfLine + "\n")
	}
	frame.WriteString(restOfScreen)
	_, err = io.WriteString(v.world.Stdout, frame.String())
	return err
}

// oneLine returns an error as one line that can be shown.
func oneLine(err error) string {
	return printable(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// sizeOf returns how many places a line of standard output has, and how many
// lines there are; 0: any number.
func sizeOf(world World) (width, height int) {
	terminal := isTerminal(world.Stdout)
	if terminal {
		width, height, _ = term.GetSize(int(world.Stdout.(*os.File).Fd()))
	}
	if width <= 0 {
		width, _ = strconv.Atoi(world.getenv("COLUMNS"))
		width = max(width, 0)
	}
	if terminal { // a serial line does not know its size
		if width == 0 {
			width = 80
		}
		if height <= 0 {
			height = 24
		}
	}
	return width, height
}
