package client

import (
	"context"
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a client over UDP, of which socket is the first one.
func start(ctx context.Context, first conn, remote netip.AddrPort, options Options) (*Client, error) {
	c := newClient(remote.String(), remote, options)
	c.conn = &socket{now: first}
	return c.start(ctx)
}
