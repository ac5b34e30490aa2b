//go:build !linux

package bench

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

var errSystem = errors.New("a bench needs Linux, whose kernel counts and times what receivers get")

// Run returns an error: it needs Linux.
func Run(context.Context, Config, func(Snapshot)) (Result, error) { return Result{}, errSystem }

// A Relay is a relay that a bench has started; there is none but on Linux.
type Relay struct {
	Addr netip.AddrPort
	PID  int
	Done <-chan struct{}
}

// Start returns an error: it needs Linux.
func Start(context.Context, io.Writer, []string, []string) (*Relay, error) { return nil, errSystem }

// Stop does nothing.
func (*Relay) Stop() error { return nil }

// ProcessorTime returns an error: it needs Linux.
func ProcessorTime(int) (time.Duration, error) { return 0, errSystem }

// Resident returns an error: it needs Linux.
func Resident(int) (uint64, error) { return 0, errSystem }
