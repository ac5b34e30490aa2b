package command

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"udprelay/internal/daemon"
)

// A service whose address is taken is not started again five times per second.
func TestOnlyAServiceWhoseAddressIsTakenPauses(t *testing.T) {
	taken := &daemon.BindError{Address: ":9000", Err: syscall.EADDRINUSE}
	managed := World{Environ: []string{"NOTIFY_SOCKET=/run/systemd/notify"}}
	for name, test := range map[string]struct {
		world World
		err   error
		want  time.Duration
	}{
		"service":           {managed, taken, bindPause},
		"at a terminal":     {World{}, taken, 0},
		"some other error":  {managed, errors.New("a bad configuration"), 0},
		"another interface": {managed, &daemon.ZoneError{Zone: "eth0"}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			pauseIfTaken(t.Context(), test.world, test.err)
			if got := time.Since(began); got != test.want {
				t.Errorf("%s: want a pause of %v; got %v", name, test.want, got)
			}
			stopped, stop := context.WithCancel(t.Context())
			stop()
			pauseIfTaken(stopped, test.world, test.err)
			if got := time.Since(began); got != test.want {
				t.Errorf("%s: want no pause in a stop; got %v", name, got-test.want)
			}
		})
	}
}
