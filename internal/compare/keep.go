package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An early is the end of a measurement that came too soon. What was measured
// until then was kept.
type early struct {
	why   error
	where []string
}

func (e *early) Error() string {
	return fmt.Sprintf("it ended early: %s; what was measured until then %s", firstLine(e.why), e.kept())
}

func (e *early) kept() string {
	if len(e.where) == 0 {
		return "was printed"
	}
	return "is in " + strings.Join(e.where, ", ")
}

func (e *early) Unwrap() error { return e.why }

// check returns what of the files that o names could not be written when all has
// been measured.
func (o *options) check() error {
	for _, name := range []string{o.json, o.into} {
		if name == "" {
			continue
		}
		file, err := os.CreateTemp(filepath.Dir(name), ".compare")
		if err != nil {
			return fmt.Errorf("%s could not be written: %w", name, err)
		}
		file.Close()
		os.Remove(file.Name())
	}
	if o.page == "" {
		return nil
	}
	page, err := os.ReadFile(o.page)
	if err != nil {
		return err
	}
	block := figuresBlock
	switch {
	case o.size:
		block = sizeBlock
	case o.link:
		block = linkBlock
	}
	if _, err := replaceBlock(string(page), block, ""); err != nil {
		return fmt.Errorf("%s: %w", o.page, err)
	}
	return os.MkdirAll(o.images, 0o755)
}

// isEmpty reports whether nothing was measured.
func (r *report) isEmpty() bool {
	return r == nil || len(r.Runs) == 0 && r.Size == nil && r.Link == nil
}

// fits returns why what other has measured cannot stand beside what r has, or
// nil.
func (r *report) fits(other *report) error {
	if r.System != other.System || r.Rounds != other.Rounds || r.Seconds != other.Seconds {
		how := func(r *report) string {
			return fmt.Sprintf("%s of %v s on %s", plural(r.Rounds, "round"), r.Seconds, r.System)
		}
		return fmt.Errorf("it has figures of %s, which cannot stand beside those of %s", how(r), how(other))
	}
	return nil
}

// end notes that the measurement ended early, in a scenario or, if that is empty,
// with many peers.
func (r *report) end(scenario string, round int, why error) {
	if scenario == "" {
		if r.Size != nil {
			r.Size.Ended = firstLine(why)
		}
		return
	}
	r.cut = scenario
	r.Notes = append(r.Notes, fmt.Sprintf("It ended early in %s, in round %d, and what comes after was not measured: %s.", scenario, round+1, firstLine(why)))
}

// firstLine returns the first line of what err says.
func firstLine(err error) string {
	if errors.Is(err, context.Canceled) {
		return "it was stopped"
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// isAbout reports whether a note is about a scenario.
func isAbout(note, scenario string) bool {
	return strings.Contains(note, " was left out of "+scenario+" in round ") || strings.HasPrefix(note, "It ended early in "+scenario+", ")
}

// replace puts what other has measured into r, in place of what r has of the same
// scenarios. What other has begun and not finished replaces nothing.
func (r *report) replace(other *report) {
	for _, s := range scenarios {
		is := func(run benchRun) bool { return run.Scenario == s.Name }
		if !slices.ContainsFunc(other.Runs, is) || other.cut == s.Name && slices.ContainsFunc(r.Runs, is) {
			continue
		}
		about := func(note string) bool { return isAbout(note, s.Name) }
		r.Runs = slices.DeleteFunc(r.Runs, is)
		r.Notes = slices.DeleteFunc(r.Notes, about)
		for _, run := range other.Runs {
			if is(run) {
				r.Runs = append(r.Runs, run)
			}
		}
		for _, note := range other.Notes {
			if about(note) {
				r.Notes = append(r.Notes, note)
			}
		}
	}
	if r.Relays == nil {
		r.Relays = map[string]string{}
	}
	for name, about := range other.Relays {
		r.Relays[name] = about
	}
	if other.Link != nil {
		r.Link = other.Link
	}
	if other.Size != nil && (r.Size == nil || other.Size.Ended == "") {
		r.Size = other.Size
	}
}

// keep writes the report to where the options say, to as much of it as can be
// written, and returns where. What is nowhere is printed.
func (r *report) keep(o options, stdout io.Writer) (where []string, err error) {
	for _, name := range []string{o.into, o.json} {
		if name == "" {
			continue
		}
		if failed := r.write(name); failed != nil {
			err = errors.Join(err, failed)
		} else {
			where = append(where, name)
		}
	}
	if o.page != "" {
		if failed := r.publish(o.page, o.images); failed != nil {
			err = errors.Join(err, failed)
		} else {
			return append(where, o.page), err
		}
	}
	text := ""
	if len(r.Runs) > 0 {
		text += r.markdown("")
	}
	if r.Size != nil {
		text += r.sizeMarkdown("")
	}
	if r.Link != nil {
		text += r.linkMarkdown()
	}
	_, failed := io.WriteString(stdout, text)
	return where, errors.Join(err, failed)
}
