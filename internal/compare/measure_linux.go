package main

import (
	"context"
	"io"
	"os"
	"slices"
)

func candidateName(c candidate) string { return c.name }

// measureAll measures what the options ask for.
func measureAll(ctx context.Context, o options, say io.Writer) (*report, error) {
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
	if o.size {
		s.report.Size, err = s.measureSize(ctx, work, o.counts)
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
