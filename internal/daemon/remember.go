package daemon

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/state"
	"udprelay/peers"
	"udprelay/relay"
)

// A StateError is a state file that this relay must not use: that of another
// program, of a newer version, or of a relay that is running.
type StateError struct {
	Err  error
	code int
	hint string
}

func (e *StateError) Error() string { return fmt.Sprintf("state.file: %v", e.Err) }

func (e *StateError) Unwrap() error { return e.Err }

// ExitCode is EX_UNAVAILABLE of sysexits.h if another relay uses the file, and
// EX_CONFIG otherwise.
func (e *StateError) ExitCode() int { return e.code }

// Hint returns a way out.
func (e *StateError) Hint() string { return e.hint }

// lockState keeps other relays from using the same state file, until unlock is
// called. The error is a [*StateError]: another one uses it.
func (d *daemon) lockState() (unlock func(), err error) {
	name := d.places.state
	if name == "" {
		return func() {}, nil
	}
	unlock, err = state.Lock(name, fmt.Sprintf("process %d, which listens on %s", os.Getpid(), d.config.Listen))
	if locked := (*state.LockedError)(nil); errors.As(err, &locked) {
		return nil, &StateError{err, 69, "stop the other relay, or give this one a file of its own (state.file, or none)"}
	}
	if err != nil {
		d.log.Debug("the state file is not locked", "error", err) // to save fails for the same reason, and says so
		return func() {}, nil
	}
	return unlock, nil
}

// readState returns what the process before has saved.
func (d *daemon) readState() (*state.Snapshot, error) {
	saved, err := d.readStateFile()
	if err != nil {
		return nil, err
	}
	if d.places.state == "" {
		complain(d.log, d.spare.keep(nil))
		return saved, nil
	}
	return d.spare.newer(saved, d.log), nil
}

// readStateFile reads the state file. One that cannot be used is set aside, unless it
// is of a newer version, or was named and may be another program's: that is a
// [*StateError].
func (d *daemon) readStateFile() (*state.Snapshot, error) {
	if d.places.state == "" {
		return new(state.Snapshot), nil
	}
	saved, err := state.Load(d.places.state, time.Now())
	if err == nil {
		return saved, nil
	}
	damaged := (*state.Damaged)(nil)
	switch {
	case !errors.As(err, &damaged):
	case damaged.Newer:
		return nil, &StateError{fmt.Errorf("%w; it is left as it is", err), 78,
			"install that udprelay again; or move the file away, and its peers and bans are lost"}
	case damaged.Foreign && d.config.State.File != "":
		return nil, &StateError{fmt.Errorf("%w; it is left as it is", err), 78,
			"choose a file that is not there yet, such as /var/lib/udprelay/peers"}
	}
	const what = "the file of the peers cannot be used; those who only listen have to join again, and bans are lost"
	if aside, failed := state.SetAside(d.places.state); failed != nil {
		d.log.Warn(what, "error", err, "not_set_aside", failed)
		d.places.state = "" // what nobody has read is not written over
	} else {
		d.log.Warn(what, "error", err, "set_aside_as", aside)
	}
	return new(state.Snapshot), nil
}

// restore gives what was saved to the relay, and returns what saves it from now
// on; nil if nothing is saved.
func (d *daemon) restore(saved *state.Snapshot) *state.Saver {
	if !saved.Saved.IsZero() {
		d.comeBack(saved)
	}
	name := d.places.state
	if name == "" {
		return nil
	}
	d.fingerprint(d.secret)
	table := d.relay.Peers()
	return &state.Saver{
		Name:    name,
		Collect: d.snapshot,
		Changed: func() uint64 {
			joined, left := table.Turnover()
			return joined + left + d.resolved.Load() + d.banned.Load()
		},
		Log:       d.log,
		Elsewhere: d.spare.keep,
	}
}

// tellState says whether peers and bans outlive the relay.
func (d *daemon) tellState(now time.Time) (told admin.State) {
	if d.saver == nil {
		return told
	}
	told.File = d.saver.Name
	if trouble := d.saver.Trouble(); trouble != nil {
		told.Failing.Duration = max(now.Sub(trouble.Since), 1)
		told.Error, told.InMemory = trouble.Err.Error(), trouble.Elsewhere
		if hinter := (interface{ Hint() string })(nil); errors.As(trouble.Err, &hinter) {
			told.Hint = hinter.Hint()
		}
	}
	return told
}

// kept reports whether what is new outlives a restart.
func (d *daemon) kept() bool {
	if d.saver == nil {
		return false
	}
	trouble := d.saver.Trouble()
	return trouble == nil || trouble.Elsewhere
}

// comeBack makes the saved bans hold and the saved peers learned ones, and has
// the relay count what the kernel has dropped meanwhile.
func (d *daemon) comeBack(saved *state.Snapshot) {
	if saved.SameBoot { // the number of the socket holds until the next boot
		d.relay.Resume(relay.Past{Socket: saved.Socket, KernelDrops: saved.KernelDrops})
	}
	d.restoreBans(saved) // before the peers, some of which they may be of
	saved.TrustSecret(d.secret)
	list := make([]relay.Remembered, 0, len(saved.Peers))
	for _, p := range saved.Peers {
		if !saved.SameBoot {
			// Numbers of interfaces hold until the next boot.
			if p.Addr.Addr().Zone() != "" {
				continue
			}
			p.Link = 0
		}
		list = append(list, relay.Remembered{
			Remembered: peers.Remembered{Addr: p.Addr, Joined: p.Joined, Heard: p.Heard, Proof: p.Proof},
			Source:     p.Source,
			Link:       p.Link,
		})
	}
	if restored := d.relay.Restore(list); len(saved.Peers) > 0 {
		d.log.Info("peers are back", "count", restored, "gone", len(saved.Peers)-restored, "away", saved.Away.Round(time.Millisecond))
	}
}

// restoreBans makes those of the state file hold.
func (d *daemon) restoreBans(saved *state.Snapshot) {
	now := time.Now()
	if len(saved.Shared) > 0 {
		d.shared.restore(saved.Shared, now)
	}
	if len(saved.Bans) == 0 {
		return
	}
	list := make([]peers.Ban, 0, len(saved.Bans))
	for _, b := range saved.Bans {
		list = append(list, peers.Ban{From: b.From, Since: b.Since, Until: b.Until, Reason: b.Reason})
		if b.Shared {
			d.shared.noteRestored(b.From, now)
		}
	}
	d.relay.Peers().RestoreBans(list, now)
	d.log.Info("bans are back", "count", len(d.relay.Peers().Bans(now)))
}

// snapshot returns what is to be saved.
func (d *daemon) snapshot() *state.Snapshot {
	// The secret first: beside a reload the peers may be of the one that comes
	// after, and not the other way round.
	secret := *d.secretPrint.Load()
	remembered, past := d.relay.Remember(), d.relay.Past()
	snapshot := &state.Snapshot{
		Peers:       make([]state.Peer, 0, len(remembered)),
		Names:       *d.names.Load(),
		Secret:      secret,
		Listen:      d.relay.Addr(),
		Socket:      past.Socket,
		KernelDrops: past.KernelDrops,
	}
	for _, p := range remembered {
		snapshot.Peers = append(snapshot.Peers, state.Peer{Addr: p.Addr, Source: p.Source, Link: p.Link, Proof: p.Proof, Joined: p.Joined, Heard: p.Heard})
	}
	// All at one moment: a list that says that a ban holds, without that ban,
	// would have other nodes think that all is well here.
	d.banning.Lock()
	defer d.banning.Unlock()
	now := time.Now()
	for _, b := range d.relay.Peers().Bans(now) {
		snapshot.Bans = append(snapshot.Bans, state.Ban{From: b.From, Since: b.Since, Until: b.Until, Reason: b.Reason, Shared: d.shared.decidedBy(b.From) != ""})
	}
	snapshot.Shared = d.shared.list.Entries(now)
	return snapshot
}

// fingerprint notes by what the state file knows the secret.
func (d *daemon) fingerprint(secret []byte) {
	text := state.Fingerprint(slices.Clone(secret))
	d.secretPrint.Store(&text)
}
