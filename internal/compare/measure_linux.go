package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
)

func candidateName(c candidate) string { return c.name }

// measureAll measures what the options ask for, to stand beside what is in
// before, if that is not nil. With an error it returns what was measured until
// then.
func measureAll(ctx context.Context, o options, before *report, say io.Writer) (*report, error) {
	work, err := os.MkdirTemp("", "udprelay-compare")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	s, undo, err := newSession(ctx, o, work, say)
	if err != nil {
		return nil, err
	}
	defer undo()
	if before != nil {
		if err := before.fits(s.report); err != nil {
			return nil, fmt.Errorf("%s: %w", o.into, err)
		}
	}
	if o.link {
		undo() // the nodes and the load generator share the processors
		s.report.Link, err = s.measureLink(ctx, work)
		return s.report, err
	}
	if o.size {
		if s.report.Size, err = s.measureSize(ctx, work, o.counts); err != nil {
			s.report.end("", 0, err)
		}
		return s.report, err
	}
	relays, err := choose(candidates(s.programs), candidateName, o.relays, "relay")
	if err != nil {
		return nil, err
	}
	wanted := slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool {
		return len(o.scenarios) > 0 && !slices.Contains(o.scenarios, s.Name)
	})
	return s.report, s.compare(ctx, wanted, relays)
}
