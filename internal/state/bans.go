package state

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"udprelay/internal/banlist"
	"udprelay/peers"
)

// A Ban keeps the addresses of a prefix out.
type Ban struct {
	From   netip.Prefix // masked; IPv4-mapped ones are IPv4
	Since  time.Time
	Until  time.Time // the zero Time: for ever
	Reason string    // peers.MaxReason bytes at most
	Shared bool      // it is one of the cluster, as that wants it
}

// maxLeft is the longest that can be left of a ban, so that it fits a
// time.Duration.
const maxLeft = math.MaxInt64 / time.Millisecond * time.Millisecond

// almost a millisecond is added to what is then cut to whole ones.
const almost = time.Millisecond - 1

var (
	errNotMasked    = errors.New("only the bits of the prefix may be set in its address")
	errMappedPrefix = errors.New("a prefix of IPv4 addresses is written as one, not as IPv6")
)

// checkBanned says why no ban has this prefix.
func checkBanned(from netip.Prefix) error {
	switch {
	case !from.IsValid():
		return errors.New("the prefix is not valid")
	case from.Addr().Is4In6():
		return errMappedPrefix
	case from != from.Masked():
		return errNotMasked
	}
	return nil
}

// checkReason says why no ban has this reason.
func checkReason(reason string) error {
	if len(reason) > peers.MaxReason {
		return fmt.Errorf("the reason has %d bytes: want %d at most", len(reason), peers.MaxReason)
	}
	return nil
}

func appendBan(b []byte, ban *Ban, now time.Time) ([]byte, error) {
	if err := checkBanned(ban.From); err != nil {
		return b, err
	}
	if err := checkReason(ban.Reason); err != nil {
		return b, err
	}
	b = append(b, keyBan...)
	b = ban.From.AppendTo(b)
	b = append(b, keySince...)
	b = appendAge(b, now.Sub(ban.Since))
	if !ban.Until.IsZero() {
		left := min(ban.Until.Sub(now), maxLeft-almost) + almost // rather too long
		b = append(b, keyLeft...)
		b = strconv.AppendInt(b, max(left.Milliseconds(), 1), 10)
	}
	if ban.Shared {
		b = append(b, keyIsShared...)
	}
	b = append(b, keyReason...)
	b = append(b, url.PathEscape(ban.Reason)...)
	return append(b, banEnd...), nil
}

// parseBan reads the line of a ban, which has begun since before the save. What
// was left of it then is 0 if it is for ever.
func parseBan(line string) (b Ban, since, left time.Duration, err error) {
	c := cursor{rest: line}
	c.literal(keyBan)
	prefix := c.text()
	if b.From, err = netip.ParsePrefix(prefix); err != nil || b.From.String() != prefix {
		c.wrong("ban", "a prefix such as 192.0.2.0/24 or 2001:db8::/64", prefix)
	} else if err := checkBanned(b.From); err != nil {
		c.fail(fmt.Errorf("ban %s: %w", excerpt(prefix), err))
	}
	c.literal(keySince)
	since = c.age("since_ms")
	if c.has(keyLeft) {
		if left = time.Duration(c.number("left_ms", maxLeft.Milliseconds())) * time.Millisecond; left == 0 {
			c.wrong("left_ms", "1 at least, for a ban that is over is not saved", "0")
		}
	}
	b.Shared = c.has(keyIsShared)
	c.literal(keyReason)
	written := c.text()
	if b.Reason, err = url.PathUnescape(written); err != nil || url.PathEscape(b.Reason) != written {
		c.wrong("reason", "ASCII without spaces and quotation marks, and %20 for a space", written)
	} else if err := checkReason(b.Reason); err != nil {
		c.fail(err)
	}
	c.literal(banEnd)
	return b, since, left, c.end()
}

// addBan adds what is left of a ban after the time away: nothing, if its time is
// over. Whether the stop was an orderly one makes no difference.
func (s *Snapshot) addBan(b Ban, since, left time.Duration, now time.Time) {
	if left > 0 {
		if left <= s.Away {
			return
		}
		b.Until = now.Add(left - s.Away)
	}
	b.Since = now.Add(-min(since+s.Away, maxAge))
	s.Bans = append(s.Bans, b)
}

// appendShared appends the line of an entry of the list that the cluster shares.
func appendShared(b []byte, e *banlist.Entry) ([]byte, error) {
	if err := e.Check(); err != nil {
		return b, err
	}
	return e.Append(b), nil
}

func parseShared(line string) (banlist.Entry, error) {
	e, err := banlist.Parse([]byte(line))
	if err != nil {
		err = fmt.Errorf("ban of the cluster: %w", err)
	}
	return e, err
}
