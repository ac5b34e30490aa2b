package relay

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A flood fills the receive queue, and the keep-alives of others are lost with
// it.
func TestPeersDoNotExpireForKeepAlivesThatTheKernelDropped(t *testing.T) {
	const expiry = time.Minute
	began := time.Now()
	after := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	var lost lostKeepAlives
	for _, step := range []struct {
		second int
		drops  uint64
		counts int // the second that counts for expiry
	}{
		{1, 0, 1},
		{100, 0, 100},
		{101, 5, 41},
		{102, 0, 42},
		{150, 1, 90},
		{210, 0, 150},
		{211, 0, 211},
		{500, 0, 500},
	} {
		lost.note(step.drops, after(step.second))
		if got := lost.instead(after(step.second), expiry); !got.Equal(after(step.counts)) {
			t.Errorf("after %d s: want peers judged as after %d s; got %v", step.second, step.counts, got.Sub(began))
		}
	}
}

func TestWhoIsBannedIsToldByTheLogWithTheCommands(t *testing.T) {
	var text bytes.Buffer
	said := dropLog{counters: new(counters), log: slog.New(slog.NewTextHandler(&text, nil))}
	var stats Stats
	stats.Dropped[DropBanned] = 3
	said.say(stats, time.Now(), false)
	const want = `level=WARN msg="datagrams dropped" reason=banned count=3 total=3 ` +
		`hint="these senders are banned, whatever the rules of access say; udprelay ban --list shows the bans, udprelay unban takes one away"`
	if got := text.String(); !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("want a line with\n%s\ngot\n%s", want, got)
	}
}
