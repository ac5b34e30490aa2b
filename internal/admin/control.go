package admin

import (
	"context"
	"io"
)

// A Control is what a running daemon lets be done. Its methods may be called by
// any goroutine.
type Control interface {
	// Reload reads the configuration again. The error may have the methods
	// ExitCode and Hint.
	Reload() (Reloaded, error)

	// Tap writes a recording of what passes to w, as pcapng, until ctx is done,
	// the recording is complete, or w fails. What is wrong with the wish is an
	// error before the first byte.
	Tap(ctx context.Context, wish Tap, w io.Writer) error
}

// A Tap says what is to be recorded.
type Tap struct {
	Peers   []string // addresses, with a port or without, or prefixes; none: everyone
	SnapLen int      // bytes kept of a packet with its headers; 0: all
}

// Reloaded says what a new configuration has changed.
type Reloaded struct {
	Changed   []string `json:"changed"`   // keys that hold with their new values
	Restart   []string `json:"restart"`   // keys that were changed and need a restart
	Forgotten int      `json:"forgotten"` // learned peers that no rule lets in any more
	Warnings  []string `json:"warnings"`  // what is allowed, but hardly meant
}

// A Failure is why something was not done.
type Failure struct {
	Message string `json:"message"`        // a line for each mistake
	Way     string `json:"hint,omitempty"` // a way out
	Code    int    `json:"exit_code"`      // after sysexits.h
}

func (f *Failure) Error() string { return f.Message }

// Hint returns a way out, or nothing.
func (f *Failure) Hint() string { return f.Way }

// ExitCode returns the exit code of a program that ends on f.
func (f *Failure) ExitCode() int { return f.Code }
