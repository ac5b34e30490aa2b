//go:build unix

package client

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// looksOf returns when r looks its relay up until a time, and whether it may keep
// its port each time. What happens comes from the test, at whole seconds.
func looksOf(until time.Duration, happens func(r *reach, second int, now time.Time)) (looks []time.Duration, samePort []bool, r reach) {
	start := time.Unix(1e9, 0)
	r = reach{times: usualTimes, keepAlive: DefaultKeepAlive}
	for second := 0; time.Duration(second)*time.Second <= until; second++ {
		now := start.Add(time.Duration(second) * time.Second)
		happens(&r, second, now)
		if look, same, again := r.due(now); look {
			looks, samePort = append(looks, now.Sub(start)), append(samePort, same)
		} else if !again.IsZero() && !again.After(now) {
			panic("due now, and nothing to do")
		}
	}
	return looks, samePort, r
}

func TestAClientLooksItsRelayUpAgainWithReason(t *testing.T) {
	s := func(seconds ...int) (all []time.Duration) {
		for _, n := range seconds {
			all = append(all, time.Duration(n)*time.Second)
		}
		return all
	}
	for name, test := range map[string]struct {
		until    time.Duration
		happens  func(r *reach, second int, now time.Time)
		looks    []time.Duration
		samePort bool
		want     Reach
	}{
		"nobody ever speaks": {100 * time.Hour, func(*reach, int, time.Time) {}, nil, false, Reach{}},
		"a few speak, then nobody": {100 * time.Hour, func(r *reach, second int, now time.Time) {
			if second < regular-1 {
				r.heard(now)
			}
		}, nil, false, Reach{}},
		"regular, then silence": {24 * time.Hour, func(r *reach, second int, now time.Time) {
			if second <= 60 {
				r.heard(now)
			}
		}, s(60+45, 60+45+90, 60+45+90+180, 60+45+90+180+360, 1455, 2895, 5775, 11535, 23055, 46095), false, Reach{Silent: true}},
		"a datagram each minute, then silence for less than usual": {time.Hour + 8*time.Minute - time.Second, func(r *reach, second int, now time.Time) {
			if second%60 == 0 && second <= 3600 {
				r.heard(now)
			}
		}, nil, false, Reach{}},
		"silence that ends": {time.Hour, func(r *reach, second int, now time.Time) {
			if second <= 60 || second >= 110 {
				r.heard(now)
			}
		}, s(105), false, Reach{}},
		"refused all the time": {45 * time.Second, func(r *reach, _ int, now time.Time) { r.failed(syscall.ECONNREFUSED, now) },
			s(10, 20, 30, 40), true, Reach{Problem: syscall.ECONNREFUSED, Failing: true}},
		"unreachable all the time": {5 * time.Minute, func(r *reach, second int, now time.Time) {
			if second%3 == 0 {
				r.failed(syscall.EHOSTUNREACH, now)
			}
		}, s(10, 30, 70, 130, 190, 250), false, Reach{Problem: syscall.EHOSTUNREACH, Failing: true}},
		"unreachable for a while": {5 * time.Minute, func(r *reach, second int, now time.Time) {
			if second < 9 {
				r.failed(syscall.EHOSTUNREACH, now)
			}
		}, s(10), false, Reach{Problem: syscall.EHOSTUNREACH}},
		"errors, and datagrams all the same": {5 * time.Minute, func(r *reach, second int, now time.Time) {
			r.failed(syscall.EHOSTUNREACH, now)
			if second%5 == 0 {
				r.heard(now)
			}
		}, nil, false, Reach{Problem: syscall.EHOSTUNREACH, Failing: true}},
		"an error between datagrams": {time.Minute, func(r *reach, second int, now time.Time) {
			if second == 10 {
				r.failed(syscall.ECONNREFUSED, now)
			}
			r.heard(now)
		}, nil, false, Reach{Problem: syscall.ECONNREFUSED}},
	} {
		looks, samePort, r := looksOf(test.until, test.happens)
		if !slices.Equal(looks, test.looks) || slices.Contains(samePort, !test.samePort) {
			t.Errorf("%s: want looks at %v, with the same port %v; got %v, %v", name, test.looks, test.samePort, looks, samePort)
		}
		if r.Reach != test.want {
			t.Errorf("%s: want %+v in the end; got %+v", name, test.want, r.Reach)
		}
	}
}
