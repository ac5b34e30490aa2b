package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatAMachineCanMakeNoUseOfIsAWarning(t *testing.T) {
	const coalesce = "socket.coalesce: has no effect on freebsd: trains are there on Linux only; want 0"
	for _, c := range []struct {
		senders  int
		coalesce time.Duration
		cores    int
		system   string
		want     []string
	}{
		{1, 0, 1, "linux", nil},
		{0, time.Millisecond, 1, "linux", nil},
		{4, 0, 4, "freebsd", nil},
		{0, time.Millisecond, 4, "freebsd", []string{coalesce}},
		{2, 0, 1, "linux", []string{"socket.senders: 2 senders, but 1 core here: those beyond one per core send nothing faster; want at most 1, or 0 for one per core"}},
		{256, time.Millisecond, 8, "freebsd", []string{"socket.senders: 256 senders, but 8 cores here: those beyond one per core send nothing faster; want at most 8, or 0 for one per core", coalesce}},
	} {
		var cfg Config
		cfg.Socket.Senders, cfg.Socket.Coalesce = c.senders, c.coalesce
		var got []string
		for _, w := range cfg.machineWarnings(c.cores, c.system) {
			got = append(got, w.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%d senders, coalesce %s on %s with %d cores (-want +got):\n%s", c.senders, c.coalesce, c.system, c.cores, diff)
		}
	}
}
