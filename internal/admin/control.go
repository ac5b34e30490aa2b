package admin

import (
	"context"
	"io"
	"net/netip"
	"time"
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

	// Kick takes the learned peers of a prefix out, of one port if it is not 0.
	// They may join again with their next datagram. The error may be a
	// [*Failure]: there is none, or it is static.
	Kick(from netip.Prefix, port uint16) (Kicked, error)

	// Ban keeps the addresses of a prefix out from now on. For a ban on all nodes
	// of the cluster it waits some seconds, at most until ctx ends, for the others
	// to have it. The error may be a [*Failure]: there is no room for another ban,
	// or no cluster.
	Ban(ctx context.Context, wish BanWish) (Banned, error)

	// Unban ends the ban of a prefix on this relay, or that of the cluster on all
	// nodes, and waits as Ban does. The error may be a [*Failure]: there is no ban
	// of that prefix, or no cluster.
	Unban(ctx context.Context, from netip.Prefix, cluster bool) (Unbanned, error)
}

// Kicked says what a kick has done.
type Kicked struct {
	Removed []netip.AddrPort `json:"removed"` // learned peers that are gone, 100 of them at most
	Count   int              `json:"count"`   // how many are gone
}

// A BanWish says who is to be kept out.
type BanWish struct {
	From     netip.Prefix
	Duration time.Duration // 0: for ever
	Reason   string        // as [CheckReason] wants it
	Cluster  bool          // on all nodes of the cluster
}

// Banned says what a ban has done. Peers are those of this relay.
type Banned struct {
	Ban     Ban  `json:"ban"`
	Removed int  `json:"removed"` // learned peers that are gone
	Static  int  `json:"static"`  // static peers inside, which may do nothing while the ban lasts
	Kept    bool `json:"kept"`    // it survives a restart: the relay has a state file that it can write
	Reached
}

// Reached says which other nodes of the cluster know of what was done, if it was
// for all of them.
type Reached struct {
	Nodes   []string `json:"nodes"`   // names of those that have it
	Missing []string `json:"missing"` // names of those that do not yet, and take it when they are heard again
}

// complete makes lists of r, which are lists in JSON, too.
func (r *Reached) complete() {
	if r.Nodes == nil {
		r.Nodes = []string{}
	}
	if r.Missing == nil {
		r.Missing = []string{}
	}
}

// Unbanned says what the end of a ban leaves.
type Unbanned struct {
	Ban   Ban   `json:"ban"`   // the one that has ended
	Still []Ban `json:"still"` // other bans that cover some of its addresses
	Reached
}

// A Ban keeps addresses out, whatever the access rules say.
type Ban struct {
	From   netip.Prefix `json:"from"`
	Since  Time         `json:"since"`
	Until  *Time        `json:"until"` // null: for ever
	Reason string       `json:"reason"`

	// Cluster is the name of the node that has decided it for all nodes of the
	// cluster; "": it is of this relay alone.
	Cluster string `json:"cluster"`
}

// BanList is all bans.
type BanList struct {
	Bans []Ban `json:"bans"` // in the order of their prefixes
	Max  int   `json:"max"`  // how many there can be
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
