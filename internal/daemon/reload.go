package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/systemd"
)

// needRestart are the keys that a running daemon cannot change.
var needRestart = []string{"listen", "socket.senders", "socket.trains", "socket.coalesce", "admin.socket", "admin.group", "admin.http", "state.file", "log.format"}

// loadWithin is how long a reload waits for the configuration to be read.
const loadWithin = 20 * time.Second

var (
	errStopping = errors.New("the relay is being stopped")
	errLoading  = errors.New("the configuration or the secret cannot be read: the file system does not answer, or it is a pipe that nobody writes to")
)

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
				status = "not reloaded, the previous configuration holds: " + err.Error()
			}
			// Also if it failed: the daemon does its work as before.
			d.complain(systemd.Ready(status))
		}
	}
}

// Reload reads the configuration again and makes it hold at once, all but what
// needs a restart. One that is bad changes nothing, and is logged.
func (d *daemon) Reload() (admin.Reloaded, error) {
	reloaded, err := d.reload()
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			d.log.Error(strings.TrimSuffix(line, "\n"))
		}
		d.log.Error("not reloaded: the previous configuration holds")
		return reloaded, err
	}
	d.reloading.Lock()
	before := d.warned
	d.warned = reloaded.Warnings
	d.reloading.Unlock()
	for _, warning := range reloaded.Warnings {
		if !slices.Contains(before, warning) {
			d.log.Warn(warning)
		}
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

// A loaded is what has been read of a configuration.
type loaded struct {
	config       *config.Config
	secret       []byte
	certificates *tls.Config
	clusterFiles clusterFiles
	warnings     []config.Warning
	err          error
}

// load reads the configuration and its secret. Both may be on a file system that
// hangs, which must hold up neither the stop nor, for longer than loadWithin,
// the one who asks; what hangs is left behind. Where there is no error, the
// caller has d.loading.
func (d *daemon) load() loaded {
	timeout := time.NewTimer(loadWithin)
	defer timeout.Stop()
	select {
	case d.loading <- struct{}{}:
	case <-d.beside.Done():
		return loaded{err: errStopping}
	case <-timeout.C:
		return loaded{err: errLoading}
	}
	result, late := make(chan loaded), make(chan struct{})
	go func() {
		var l loaded
		var more []config.Warning
		if l.config, l.warnings, l.err = d.options.Load(); l.err == nil {
			l.secret, more, l.err = l.config.ReadSecret()
			l.warnings = slices.Concat(l.warnings, l.config.MachineWarnings(), more)
		}
		if l.err == nil {
			l.certificates, more, l.err = Certificates(l.config)
			l.warnings = slices.Concat(l.warnings, more)
		}
		if l.err == nil {
			l.clusterFiles, more, l.err = readClusterFiles(l.config)
			l.warnings = slices.Concat(l.warnings, more)
		}
		select {
		case result <- l:
		case <-late:
			<-d.loading
		}
	}()
	var l loaded
	select {
	case l = <-result:
		if l.err != nil {
			<-d.loading
		}
		return l
	case <-d.beside.Done():
		l.err = errStopping
	case <-timeout.C:
		l.err = errLoading
	}
	close(late)
	return l
}

func (d *daemon) reload() (reloaded admin.Reloaded, err error) {
	l := d.load()
	if l.err != nil {
		return reloaded, l.err
	}
	defer func() { <-d.loading }()
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if d.stopping {
		return reloaded, errStopping
	}
	next, secret := l.config, l.secret
	opening, cancel := context.WithTimeout(d.beside, loadWithin)
	defer cancel()
	if err := d.openGateway(opening, next, secret, l.certificates); err != nil {
		return reloaded, err
	}
	if err := d.node.apply(opening, d.clusterOptions(next, l.clusterFiles)); err != nil {
		if again := d.openGateway(opening, d.config, d.secret, d.certificates); again != nil {
			d.log.Error("the gateways are not as they were", "error", again)
		}
		return reloaded, err
	}
	for _, warning := range l.warnings {
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
	}

	d.output.SetLevel(next.Log.Level)
	d.resolve = d.resolve.instead(next, func() {
		reloaded.Forgotten = d.relay.Apply(relayOptions(next, secret, d.log))
	})
	if !bytes.Equal(secret, d.secret) {
		d.fingerprint(secret) // not before, or those who know the old one would be saved as knowing the new one
	}
	// What needs a restart stays as it is, and is told again with each reload.
	next.Listen, next.Log.Format = d.config.Listen, d.config.Log.Format
	buffers := next.Socket
	next.Socket = d.config.Socket
	next.Socket.ReceiveBuffer, next.Socket.SendBuffer = buffers.ReceiveBuffer, buffers.SendBuffer
	perPeer := next.Admin.MetricsPerPeer
	next.Admin, next.State = d.config.Admin, d.config.State
	next.Admin.MetricsPerPeer = perPeer
	if !sameCertificates(l.certificates, d.certificates) {
		reloaded.Changed = append(reloaded.Changed, "the certificates")
	}
	if !bytes.Equal(l.clusterFiles.secret, d.clusterFiles.secret) {
		reloaded.Changed = append(reloaded.Changed, "the secret of the cluster")
	}
	if !sameCertificates(l.clusterFiles.tls, d.clusterFiles.tls) {
		reloaded.Changed = append(reloaded.Changed, "the certificates of the cluster")
	}
	d.config, d.secret, d.certificates, d.clusterFiles = next, secret, l.certificates, l.clusterFiles
	return reloaded, nil
}
