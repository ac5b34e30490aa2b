//go:build !nocluster

package cluster

import (
	"context"
	"log/slog"
	"time"
)

// sayDropsEvery is how often the log says of a reason how much it has cost.
const sayDropsEvery = time.Minute

// A dropLog says of each reason how many it has cost: the first time at once,
// from then on at most once in sayDropsEvery.
type dropLog struct {
	log  *slog.Logger
	said [drops]uint64    // what was said so far
	when [drops]time.Time // and when
}

func (l *dropLog) say(dropped *[drops]uint64, now time.Time, last bool) {
	for _, reason := range Drops() {
		count := dropped[reason]
		if count == l.said[reason] || !last && now.Sub(l.when[reason]) < sayDropsEvery {
			continue
		}
		args := []any{"reason", reason.String(), "count", count - l.said[reason], "total", count}
		if hint := hints[reason]; hint != "" {
			args = append(args, "hint", hint)
		}
		level, what := slog.LevelWarn, "messages"
		switch reason {
		case DropUnproven, DropDuplicate, DropUnasked: // as ever when nodes come and go
			level = slog.LevelDebug
		case DropQueueFull, DropTooBig, DropPublishFailed, DropLost:
			what = "datagrams"
		}
		l.log.Log(context.Background(), level, "cluster: "+what+" dropped", args...)
		l.said[reason], l.when[reason] = count, now
	}
}

// hints say what a reason comes from, or what would be right.
var hints = [drops]string{
	DropQueueFull:      "NATS takes less than this relay has to say",
	DropPublishFailed:  "there is no connection to NATS, or it does not take messages as long",
	DropLost:           "they did not come from other nodes: a route was cut or is too slow",
	DropUnknownVersion: "a node speaks another version: want the same program on all",
	DropMalformed:      "who is no node publishes in this room: want another room or a secret",
	DropWrongSecret:    "a node of this room has another secret or none: want the same on all",
	DropTooManyNodes:   "no more than 256 other nodes are known: want several rooms",
	DropSlow:           "this relay takes less than comes from other nodes",
}

// sayDrops logs what was dropped since.
func (c *Cluster) sayDrops(now time.Time, last bool) {
	var dropped [drops]uint64
	for i := range dropped {
		dropped[i] = c.counters.dropped[i].Load()
	}
	c.dropped.say(&dropped, now, last)
}
