package state

import (
	"strings"
	"time"
)

// A moment is a time by the clocks that there are.
type moment struct {
	wall time.Time
	boot string        // which start of the machine it is; "": unknown
	up   time.Duration // since that start, sleep included; 0: unknown
}

func momentAt(now time.Time) moment {
	boot, up := sinceBoot()
	return moment{now, boot, up}
}

// away returns how long saved was before now, in whole milliseconds, and
// whether the machine is known not to have been restarted in between.
//
// Where it is not known, a machine that is up for longer than at the save
// counts as not restarted: if it was, the daemon seems to have been away for
// less than the machine is up.
func away(saved, now moment) (d time.Duration, sameBoot bool) {
	d = now.wall.Round(0).Sub(saved.wall)
	if saved.up > 0 && now.up > 0 {
		known := saved.boot != "" && now.boot != ""
		sameBoot = known && saved.boot == now.boot
		switch longer := now.up >= saved.up; {
		case longer && (sameBoot || !known):
			d = now.up - saved.up
		case !sameBoot: // restarted since, and not yet running then
			d = max(d, now.up)
		}
	}
	return min(max(d, 0), maxAge).Truncate(time.Millisecond), sameBoot
}

// isBoot reports whether text is what Linux names a start of the machine by: 36
// hex digits and dashes, as a UUID has.
func isBoot(text string) bool {
	return len(text) == 36 && strings.Trim(text, "0123456789abcdef-") == ""
}
