package daemon

import (
	"context"
	"net"

	"udprelay/internal/admin"
	"udprelay/internal/admin/dashboard"
	"udprelay/internal/config"
)

// listenForHTTP opens the address at which the daemon tells what it does, if
// there is to be one. That there is none keeps nobody from relaying: every relay
// of a machine has the same default.
func (d *daemon) listenForHTTP() (listener net.Listener, host string) {
	address := d.config.Admin.HTTP
	if address == "" || address == config.None {
		return nil, ""
	}
	host, _, _ = net.SplitHostPort(address) // it is checked
	listener, err := net.Listen("tcp", address)
	if err != nil {
		d.log.Warn("no dashboard and no metrics", "address", address, "error", reason(err), "hint", "admin.http chooses another address, or none")
		return nil, ""
	}
	d.log.Info("dashboard and metrics", "at", "http://"+listener.Addr().String()+"/")
	return listener, host
}

// MetricsPerPeer reports whether the metrics are to have what each peer does.
func (d *daemon) MetricsPerPeer() bool {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	return d.config.Admin.MetricsPerPeer
}

// tellByHTTP answers what comes by listener until ctx is cancelled. Host is how
// the configuration names this one.
func (d *daemon) tellByHTTP(ctx context.Context, listener net.Listener, host string) {
	if err := admin.ServeHTTP(ctx, listener, host, d, dashboard.Handler(), d.log); err != nil {
		d.log.Error("the dashboard failed", "error", err)
	}
}
