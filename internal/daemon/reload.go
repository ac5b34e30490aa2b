package daemon

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/systemd"
)

// needRestart are the keys that a running daemon cannot change.
var needRestart = []string{"listen", "socket.trains", "admin.socket", "state.file", "log.format"}

// errStopping is the answer to a reload that comes too late.
var errStopping = errors.New("the relay is being stopped")

// reloadWhenAsked reloads with each signal until ctx is cancelled.
func (d *daemon) reloadWhenAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.options.Reload:
			d.complain(systemd.Reloading())
			status := "reloaded"
			if _, err := d.Reload(); err != nil {
				status = "not reloaded, the configuration of before holds: " + err.Error()
			}
			// Also if it failed: the daemon does its work as before.
			d.complain(systemd.Ready(status))
		}
	}
}

// Reload reads the configuration again and makes it hold at once, all but what
// needs a restart. One that is bad changes nothing, and is logged.
func (d *daemon) Reload() (admin.Reloaded, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	reloaded, err := d.reload()
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			d.log.Error(strings.TrimSuffix(line, "\n"))
		}
		d.log.Error("not reloaded: the configuration of before holds")
		return reloaded, err
	}
	for _, warning := range reloaded.Warnings {
		d.log.Warn(warning)
	}
	d.log.Info("reloaded", "changed", list(reloaded.Changed), "forgotten_peers", reloaded.Forgotten)
	if len(reloaded.Restart) > 0 {
		d.log.Warn("some changes hold only after a restart", "keys", list(reloaded.Restart))
	}
	return reloaded, nil
}

// list writes keys in a word.
func list(keys []string) string {
	if len(keys) == 0 {
		return "nothing"
	}
	return strings.Join(keys, ",")
}

func (d *daemon) reload() (reloaded admin.Reloaded, err error) {
	if d.stopping {
		return reloaded, errStopping
	}
	next, warnings, err := d.options.Load()
	if err != nil {
		return reloaded, err
	}
	secret, more, err := next.ReadSecret()
	if err != nil {
		return reloaded, err
	}
	for _, warning := range slices.Concat(warnings, more) {
		reloaded.Warnings = append(reloaded.Warnings, warning.String())
	}
	for _, key := range config.Changed(d.config, next) {
		if slices.Contains(needRestart, key) {
			reloaded.Restart = append(reloaded.Restart, key)
		} else {
			reloaded.Changed = append(reloaded.Changed, key)
		}
	}
	if !bytes.Equal(secret, d.secret) {
		reloaded.Changed = append(reloaded.Changed, "the secret")
		d.fingerprint(secret)
	}

	d.output.SetLevel(next.Log.Level)
	reloaded.Forgotten = d.relay.Apply(relayOptions(next, secret, d.log))
	d.resolve = d.resolve.instead(next)
	// What needs a restart stays as it is, and is told again with each reload.
	next.Listen, next.Socket.Trains, next.Log.Format = d.config.Listen, d.config.Socket.Trains, d.config.Log.Format
	next.Admin, next.State = d.config.Admin, d.config.State
	d.config, d.secret = next, secret
	return reloaded, nil
}
