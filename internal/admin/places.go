package admin

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// A listener has so many connections at a time, and at a control socket each
	// user has mostPerUser of them. Root and the user of the daemon have as many
	// for themselves, so nobody can lock them out.
	mostConnections = 512
	mostPerUser     = 64

	// So many connections beyond that are told that they are too many. At an
	// address, they are told also whether the relay is alive and ready.
	mostTold = 64

	// sayClosedEvery is how often it is logged that connections were closed.
	sayClosedEvery = time.Minute
)

// Places bounds the connections of a listener, so that descriptors are left for
// what else the daemon does, and nobody can keep others out: where there are too
// many, the one that has waited longest without a whole request is closed.
type places struct {
	listener string
	owns     func(caller) bool // whether it has places of its own; nil: nobody has
	log      *slog.Logger

	mu      sync.Mutex
	held    map[net.Conn]*place
	waiting []*place      // those without a request, in the order in which they came
	count   map[group]int // but for those that are too many
	others  int           // of these, those that are not the owner's
	closed  map[group]int // not yet logged
	told    *time.Timer   // nil: nothing was logged for a while
	stopped bool
}

// A group is connections that share a bound.
type group struct {
	owner, local bool
	uid          uint32
}

// A place is that of a connection.
type place struct {
	conn    net.Conn
	group   group
	tooMany bool
}

type placeKey struct{}

func newPlaces(listener string, owns func(caller) bool, log *slog.Logger) *places {
	return &places{listener: listener, owns: owns, log: log, held: make(map[net.Conn]*place), count: make(map[group]int), closed: make(map[group]int)}
}

// take gives conn a place.
func (p *places) take(conn net.Conn, c caller, local bool) *place {
	taken := &place{conn: conn, group: group{local: local, uid: c.uid, owner: local && p.owns != nil && p.owns(c)}}
	g := taken.group
	p.mu.Lock()
	defer p.mu.Unlock()
	if full := local && p.count[g] >= mostPerUser; full || !g.owner && p.others >= mostConnections {
		p.makeRoom(taken, func(waiting *place) bool {
			return !waiting.tooMany && (waiting.group == g || !full && !waiting.group.owner)
		})
	}
	p.held[conn] = taken
	p.waiting = append(p.waiting, taken)
	p.add(taken, 1)
	return taken
}

// makeRoom closes the connection that has waited longest of those that may be
// closed. If there is none, taken is one too many.
func (p *places) makeRoom(taken *place, may func(*place) bool) {
	i := slices.IndexFunc(p.waiting, may)
	if i < 0 {
		taken.tooMany = true
		told := 0
		for at, waiting := range slices.Backward(p.waiting) {
			if waiting.tooMany {
				told, i = told+1, at
			}
		}
		if told < mostTold {
			return
		}
	}
	victim := p.waiting[i]
	p.leave(victim)
	victim.conn.Close()
	p.closed[victim.group]++
	if p.told == nil && !p.stopped {
		p.told = time.AfterFunc(0, p.say)
	}
}

// begins is told that the request of the place has come whole.
func (p *places) begins(of *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(waiting *place) bool { return waiting == of })
}

// note takes note of a connection that is closed.
func (p *places) note(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		p.mu.Lock()
		defer p.mu.Unlock()
		if of := p.held[conn]; of != nil {
			p.leave(of)
		}
	}
}

// leave is called with p.mu locked.
func (p *places) leave(of *place) {
	delete(p.held, of.conn)
	p.waiting = slices.DeleteFunc(p.waiting, func(waiting *place) bool { return waiting == of })
	p.add(of, -1)
}

func (p *places) add(of *place, n int) {
	if of.tooMany {
		return
	}
	if p.count[of.group] += n; p.count[of.group] == 0 {
		delete(p.count, of.group)
	}
	if !of.group.owner {
		p.others += n
	}
}

// say logs what was closed since it was logged last.
func (p *places) say() {
	p.mu.Lock()
	closed := p.closed
	p.closed = make(map[group]int)
	if p.told = nil; len(closed) > 0 && !p.stopped {
		p.told = time.AfterFunc(sayClosedEvery, p.say)
	}
	p.mu.Unlock()
	for g, count := range closed {
		p.log.Warn("connections were closed: there were too many without a request", "address", p.listener, "from", g.String(), "count", count)
	}
}

// stop logs what is left to be.
func (p *places) stop() {
	p.mu.Lock()
	p.stopped = true
	if p.told != nil {
		p.told.Stop()
	}
	p.mu.Unlock()
	p.say()
}

// String says whose connections they are.
func (g group) String() string {
	if !g.local {
		return "the network"
	}
	return "user " + userName(g.uid, "")
}

// alive are the requests that a probe makes, to learn whether to restart the relay.
func alive(request *http.Request) bool {
	return request.URL.Path == "/healthz" || request.URL.Path == "/readyz"
}

// keep returns next for connections that have a place. Those that are too many
// are told so.
func (p *places) keep(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		of := request.Context().Value(placeKey{}).(*place)
		p.begins(of)
		if of.tooMany && !alive(request) {
			answer(w, http.StatusServiceUnavailable, &Failure{
				Message: fmt.Sprintf("too many connections to %s from %v", p.listener, of.group),
				Way:     "ask again when some of them have ended",
				Code:    75, // EX_TEMPFAIL of sysexits.h
			})
			return
		}
		next.ServeHTTP(w, request)
	})
}
