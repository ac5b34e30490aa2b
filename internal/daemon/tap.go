package daemon

import (
	"context"
	"io"

	"udprelay/internal/admin"
	"udprelay/internal/capture"
)

// Tap writes a recording of what passes to w until ctx is done or w fails.
func (d *daemon) Tap(ctx context.Context, wish admin.Tap, w io.Writer) error {
	options := capture.Options{Version: d.options.Version, To: d.relay.Addr(), Local: capture.LocalOf(d.relay), SnapLen: wish.SnapLen}
	for _, text := range wish.Peers {
		peer, err := capture.ParsePeer(text)
		if err != nil {
			return err
		}
		options.Peers = append(options.Peers, peer)
	}
	recorder, err := capture.NewRecorder(options)
	if err != nil {
		return err
	}
	attached := d.relay.Attach(recorder)
	defer attached.Detach()
	d.log.Info("a recording begins")
	err = recorder.Stream(ctx, w)
	stats := recorder.Stats()
	d.log.Info("a recording ends", "datagrams", stats.Recorded, "missing", stats.Dropped)
	return err
}
