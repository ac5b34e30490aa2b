package daemon

import (
	"errors"
	"slices"
	"time"

	"udprelay/internal/state"
	"udprelay/peers"
	"udprelay/relay"
)

// restore gives what the state file has to the relay, and returns what saves
// it from now on; nil if nothing is saved.
func (d *daemon) restore() *state.Saver {
	name := d.places.state
	if name == "" {
		return nil
	}
	saved, err := state.Load(name, time.Now())
	if damaged := (*state.Damaged)(nil); errors.As(err, &damaged) {
		aside, failed := state.SetAside(name)
		if failed != nil {
			aside = "nowhere: " + failed.Error()
		}
		d.log.Warn("the file of the peers is damaged and set aside; those who only listen have to join again", "error", err, "set_aside_as", aside)
	} else if err != nil {
		d.log.Warn("the file of the peers cannot be read; those who only listen have to join again", "error", err)
	} else if !saved.Saved.IsZero() {
		d.comeBack(saved)
	}
	d.fingerprint(d.secret)
	table := d.relay.Peers()
	return &state.Saver{
		Name:    name,
		Collect: d.snapshot,
		Changed: func() uint64 {
			joined, left := table.Turnover()
			return joined + left
		},
		Log: d.log,
	}
}

// comeBack makes the saved peers learned ones, and has the relay count what the
// kernel has dropped meanwhile.
func (d *daemon) comeBack(saved *state.Snapshot) {
	if saved.SameBoot { // the number of the socket holds until the next boot
		d.relay.Resume(relay.Past{Socket: saved.Socket, KernelDrops: saved.KernelDrops})
	}
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

// snapshot returns what is to be saved.
func (d *daemon) snapshot() *state.Snapshot {
	remembered, past := d.relay.Remember(), d.relay.Past()
	snapshot := &state.Snapshot{
		Peers:       make([]state.Peer, 0, len(remembered)),
		Secret:      *d.secretPrint.Load(),
		Listen:      d.relay.Addr(),
		Socket:      past.Socket,
		KernelDrops: past.KernelDrops,
	}
	for _, p := range remembered {
		snapshot.Peers = append(snapshot.Peers, state.Peer{Addr: p.Addr, Source: p.Source, Link: p.Link, Proof: p.Proof, Joined: p.Joined, Heard: p.Heard})
	}
	return snapshot
}

// fingerprint notes by what the state file knows the secret.
func (d *daemon) fingerprint(secret []byte) {
	text := state.Fingerprint(slices.Clone(secret))
	d.secretPrint.Store(&text)
}
