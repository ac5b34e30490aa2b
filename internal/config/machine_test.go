package config

import (
	"math"
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
		if diff := cmp.Diff(c.want, texts(cfg.machineWarnings(machine{c.cores, c.system, math.MaxInt}))); diff != "" {
			t.Errorf("%d senders, coalesce %s on %s with %d cores (-want +got):\n%s", c.senders, c.coalesce, c.system, c.cores, diff)
		}
	}
}

func TestMoreConnectionsThanFilesIsAWarning(t *testing.T) {
	const (
		keeps = " open, and keeps 100 for itself; want at most "
		way   = ", or more files (LimitNOFILE= of the service, ulimit -n)"
	)
	on := func(g *Gateway) { g.WebSocket.Listen = ":0" }
	for _, c := range []struct {
		connections, files int
		turn               func(*Gateway)
		want               []string
	}{
		{1000, math.MaxInt, on, nil},
		{924, 1024, on, nil},
		{925, 1024, on, []string{"gateway.connections: 925 connections, but this process may have 1024 files" + keeps + "924" + way}},
		{925, 1024, func(*Gateway) {}, nil},
		{925, 1024, func(g *Gateway) { g.TCP.Listen, g.TLS.Listen = None, None }, nil},
		{2, 50, func(g *Gateway) { g.TLS.Listen = ":0" }, []string{"gateway.connections: 2 connections, but this process may have 50 files" + keeps + "1" + way}},
		{1, 50, on, nil},
	} {
		var cfg Config
		cfg.Gateway.Connections = c.connections
		c.turn(&cfg.Gateway)
		if diff := cmp.Diff(c.want, texts(cfg.machineWarnings(machine{1, "linux", c.files}))); diff != "" {
			t.Errorf("%d connections, %d files (-want +got):\n%s", c.connections, c.files, diff)
		}
	}
}

func TestFilesThatAProcessMayHaveOpenAreKnown(t *testing.T) {
	if got := fileLimit(); got < 20 { // the least that POSIX allows
		t.Errorf("want a number of files, got %d", got)
	}
}
