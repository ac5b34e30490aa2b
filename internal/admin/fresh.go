package admin

import (
	"context"
	"net/netip"
	"time"
)

// A fresh is a Control after which the status is told anew, so that who has
// changed something sees it.
type fresh struct {
	Control
	reader *reader
}

func (f *fresh) Reload() (Reloaded, error) {
	defer f.reader.forget()
	return f.Control.Reload()
}

func (f *fresh) Kick(from netip.Prefix, port uint16) (Kicked, error) {
	defer f.reader.forget()
	return f.Control.Kick(from, port)
}

func (f *fresh) Ban(ctx context.Context, wish BanWish) (Banned, error) {
	defer f.reader.forget()
	return f.Control.Ban(ctx, wish)
}

func (f *fresh) Unban(ctx context.Context, from netip.Prefix, cluster bool) (Unbanned, error) {
	defer f.reader.forget()
	return f.Control.Unban(ctx, from, cluster)
}

// forget has the next status made anew.
func (r *reader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.when = time.Time{}
}
