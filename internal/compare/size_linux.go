package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/bench"
	"udprelay/internal/state"
)

const (
	sizePatience = 60 * time.Second // for what is waited for with many peers

	// turnsOfSenders is how many datagrams are measured at least.
	turnsOfSenders = 200_000

	listPage = 1000 // the most that the API gives at once
)

var (
	receiverCounts = []int{1, 10, 100, 1000, 10_000}
	senderCounts   = []int{10, 100, 1000, 10_000, 100_000}
)

// measureSize measures udprelay with up to so many peers as counts say. With an
// error it returns what was measured until then, or nil.
func (s *session) measureSize(ctx context.Context, work string, counts []int) (*size, error) {
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	result := new(size)
	upTo := func(list []int, do func(i, n int) error) error {
		for round := range s.rounds {
			for i, n := range list {
				if n > most {
					break
				}
				if err := do(i, n); err != nil {
					return fmt.Errorf("%d peers, round %d: %w", n, round+1, err)
				}
			}
		}
		return nil
	}
	note := func(list *[]cost, i, n int, ns float64) {
		if i == len(*list) {
			*list = append(*list, cost{Count: n})
		}
		(*list)[i].PerDatagram = append((*list)[i].PerDatagram, ns)
	}
	ours := candidates(s.programs)[0]
	err := upTo(receiverCounts, func(i, n int) error {
		load := scenario{Name: "size", receivers: n, senders: 1, sizes: "200"}
		r, err := s.one(ctx, load, ours)
		if err != nil {
			return err
		}
		if !(perDelivery(r) > 0) {
			return errors.New("the processor time of the relay is not known: it has ended")
		}
		fmt.Fprintf(s.say, "receivers %7d  %12s ns per datagram\n", n, number(perDelivery(r)*float64(n)))
		note(&result.Receivers, i, n, perDelivery(r)*float64(n))
		return nil
	})
	if err != nil {
		return result.measured(), err
	}
	err = upTo(senderCounts, func(i, n int) error {
		ns, err := s.senders(ctx, work, n)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.say, "senders   %7d  %12s ns per datagram\n", n, number(ns))
		note(&result.Senders, i, n, ns)
		return nil
	})
	if err != nil {
		return result.measured(), err
	}
	for _, n := range counts {
		result.Crowds = append(result.Crowds, crowd{Peers: n})
	}
	for round := range s.rounds {
		for i := range result.Crowds {
			if err := s.crowd(ctx, work, &result.Crowds[i]); err != nil {
				return result.measured(), fmt.Errorf("%d peers, round %d: %w", counts[i], round+1, err)
			}
		}
	}
	return result, nil
}

// A room is a udprelay that is to have many peers, with a control socket.
type room struct {
	*child
	api     admin.Client
	port    uint16
	config  string // its file
	state   string // its file
	session *session
}

// newRoom starts a relay whose rule lets everybody on this machine do may.
func (s *session) newRoom(ctx context.Context, work, may string) (*room, error) {
	directory, err := os.MkdirTemp(work, "room")
	if err != nil {
		return nil, err
	}
	port, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	r := &room{
		session: s, port: port, api: admin.Client{Socket: filepath.Join(directory, "control.sock")},
		config: filepath.Join(directory, "config.yaml"), state: filepath.Join(directory, "peers"),
	}
	if err := r.configure(may, "2h"); err != nil {
		return nil, err
	}
	return r, r.start(ctx)
}

// configure writes the configuration of the relay.
func (r *room) configure(may, expiry string) error {
	text := fmt.Sprintf(`listen: "127.0.0.1:%d"
peers: {expiry: %s, max: 0, max_per_address: 0, joins_per_second: 0, joins_per_second_per_address: 0}
access: [{from: loopback, may: %s}]
admin: {socket: %q, http: none}
state: {file: %q}
log: {level: error}
`, r.port, expiry, may, r.api.Socket, r.state)
	return os.WriteFile(r.config, []byte(text), 0o600)
}

// start starts the relay. Its port is open before its receive buffer holds a window.
func (r *room) start(ctx context.Context) (err error) {
	r.child, err = startChild(ctx, r.session.processors.relay, r.port, []string{r.session.programs.udprelay, "serve", "--config", r.config}, r.environ())
	if err != nil {
		return err
	}
	if err = r.await(ctx, "it ready", func(s admin.Status) bool { return s.Ready }); err != nil {
		r.stop()
	}
	return err
}

// environ lacks what would beat the file.
func (r *room) environ() []string {
	list := environ()
	return list[:len(list)-len(noLimits)]
}

// await asks for the status until it is as wanted.
func (r *room) await(ctx context.Context, what string, wanted func(admin.Status) bool) error {
	return r.awaitEvery(ctx, time.Millisecond, what, wanted)
}

func (r *room) awaitEvery(ctx context.Context, pause time.Duration, what string, wanted func(admin.Status) bool) error {
	for deadline := time.Now().Add(sizePatience); ; time.Sleep(pause) {
		status, err := r.api.Status(ctx)
		switch {
		case err == nil && wanted(status):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case r.ended():
			return fmt.Errorf("the relay has ended; it said: %s", r.said)
		case time.Now().After(deadline) && err != nil:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("want %s; there are %d learned peers and %d datagrams received", what, status.Peers.Learned, status.Counters.Received)
		}
	}
}

func (r *room) awaitLearned(ctx context.Context, want int) error {
	return r.await(ctx, fmt.Sprintf("%d learned peers", want), func(s admin.Status) bool { return s.Ready && s.Peers.Learned == want })
}

// join has a crowd join, and returns how long that took.
func (r *room) join(ctx context.Context, v *voices) (time.Duration, error) {
	began := time.Now()
	if err := v.all(ctx, r.child, nil); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, r.awaitLearned(ctx, len(v.messages))
}

// senders returns the processor time of a datagram with so many senders, and no
// receiver. Each time the relay is stopped until its queue has been filled, so
// that it does not matter how fast it is filled.
func (s *session) senders(ctx context.Context, work string, count int) (ns float64, err error) {
	r, err := s.newRoom(ctx, work, "send")
	if err != nil {
		return 0, err
	}
	defer func() { r.stop() }()
	v, err := newVoices(r.addr, count)
	if err != nil {
		return 0, err
	}
	defer v.close()
	if err := v.all(ctx, r.child, nil); err != nil {
		return 0, err
	}
	// They only send, so they are no peers, whatever their number.
	if err := r.await(ctx, fmt.Sprintf("%d datagrams received", count), func(s admin.Status) bool { return s.Ready && s.Counters.Received >= uint64(count) }); err != nil {
		return 0, err
	}
	before, err := r.api.Status(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.pause(ctx); err != nil {
		return 0, err
	}
	began, err := bench.ProcessorTime(r.pid)
	if err != nil {
		return 0, err
	}
	sent, payload := 0, []byte("a datagram of some thirty bytes")
	for sent < max(turnsOfSenders, count) {
		if err := v.next(window, payload); err != nil {
			return 0, err
		}
		sent += window
		r.resume()
		if err := r.awaitEmpty(ctx); err != nil {
			return 0, err
		}
		if err := r.pause(ctx); err != nil {
			return 0, err
		}
	}
	ended, err := bench.ProcessorTime(r.pid)
	if err != nil {
		return 0, err
	}
	r.resume()
	want := before.Counters.Received + uint64(sent)
	err = r.await(ctx, fmt.Sprintf("%d datagrams received", want), func(s admin.Status) bool { return s.Counters.Received >= want })
	return float64(ended-began) / float64(sent), err
}

// crowd measures one round of a crowd.
func (s *session) crowd(ctx context.Context, work string, c *crowd) error {
	r, err := s.newRoom(ctx, work, "both")
	if err != nil {
		return err
	}
	defer func() { r.stop() }()
	v, err := newVoices(r.addr, c.Peers)
	if err != nil {
		return err
	}
	defer v.close()
	joined, err := r.join(ctx, v)
	if err != nil {
		return err
	}
	resident, err := bench.Resident(r.pid)
	if err != nil {
		return err
	}
	page, err := timed(func() error { return r.list(ctx, min(c.Peers, listPage)) })
	if err != nil {
		return err
	}
	all, err := timed(func() error { return r.list(ctx, c.Peers) })
	if err != nil {
		return err
	}
	stopped, _ := timed(func() error { r.stop(); return nil })
	info, err := os.Stat(r.state)
	if err != nil {
		return err
	}
	saved, err := s.save(r.state, c.Peers)
	if err != nil {
		return err
	}
	started, err := timed(func() error {
		if err := r.start(ctx); err != nil {
			return err
		}
		return r.awaitLearned(ctx, c.Peers)
	})
	if err != nil {
		return err
	}
	expired, err := r.expire(ctx)
	if err != nil {
		return err
	}
	for _, item := range []struct {
		list  *[]float64
		value float64
	}{
		{&c.Join, joined.Seconds()}, {&c.Page, page.Seconds()}, {&c.List, all.Seconds()}, {&c.Stop, stopped.Seconds()}, {&c.Save, saved.Seconds()},
		{&c.Start, started.Seconds()}, {&c.Expire, expired.Seconds()}, {&c.Resident, float64(resident)}, {&c.File, float64(info.Size())},
	} {
		*item.list = append(*item.list, item.value)
	}
	fmt.Fprintf(s.say, "crowd     %7d  join %v, list %v (a page %v), stop %v, save %v, start %v, expire %v, %s MB\n", c.Peers, joined, all, page, stopped, saved, started, expired, number(float64(resident)/1e6))
	return nil
}

func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// list lists so many peers, page by page.
func (r *room) list(ctx context.Context, count int) error {
	seen := map[netip.AddrPort]bool{}
	for len(seen) < count {
		page, err := r.api.Peers(ctx, admin.Query{Offset: len(seen), Limit: min(count-len(seen), listPage)})
		if err != nil {
			return err
		}
		before := len(seen)
		for _, p := range page.Peers {
			seen[p.Address] = true
		}
		if len(seen) == before {
			return fmt.Errorf("want %d peers listed, got %d", count, before)
		}
	}
	return nil
}

// save returns how long it takes to save what the file of a relay that has ended
// has, as a relay does it at its end.
func (s *session) save(name string, count int) (time.Duration, error) {
	snapshot, err := state.Load(name, time.Now())
	if err != nil {
		return 0, err
	}
	if len(snapshot.Peers) != count {
		return 0, fmt.Errorf("want %d peers in %s, got %d", count, name, len(snapshot.Peers))
	}
	return timed(func() error { return state.Save(name+".again", snapshot, time.Now(), true) })
}

// expire gives the relay a short expiry, and returns the processor time that it
// takes from then until nobody is left, when it may have been asked twice.
func (r *room) expire(ctx context.Context) (time.Duration, error) {
	if err := r.configure("both", "500ms"); err != nil {
		return 0, err
	}
	if _, err := r.api.Reload(ctx); err != nil {
		return 0, err
	}
	began, err := bench.ProcessorTime(r.pid)
	if err != nil {
		return 0, err
	}
	if err := r.awaitEvery(ctx, time.Second, "no learned peers", func(s admin.Status) bool { return s.Peers.Learned == 0 }); err != nil {
		return 0, err
	}
	ended, err := bench.ProcessorTime(r.pid)
	return ended - began, err
}
