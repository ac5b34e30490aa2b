package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// A Source is what a running daemon tells. Its methods may be called by any
// goroutine.
type Source interface {
	// Status returns what the daemon does, as a whole.
	Status() Status

	// Peers returns the peers from the one at offset on, at most limit of them,
	// in the order in which they joined, and how many there are in all. The list
	// belongs to the caller.
	Peers(offset, limit int) (list []*Peer, total int)

	// Why explains what happens to datagrams from addr and for it; port 0
	// stands for any.
	Why(addr netip.AddrPort) Why

	// Bans returns the bans that hold.
	Bans() BanList

	// MetricsPerPeer reports whether the metrics are to have what each peer
	// does.
	MetricsPerPeer() bool

	// ClusterPeers asks another node of the cluster, by its ID, for a page of its
	// peers. The error may be a [*Failure], of code 1 if there is no such node,
	// and 69 if it does not answer now.
	ClusterPeers(ctx context.Context, node string, query Query) (PeerPage, error)

	// Turn waits until the loop of the relay has come round once more; the
	// error is that of ctx if it does not.
	Turn(ctx context.Context) error
}

const (
	// healthWithin is how long the loop of the relay has to come round.
	// Probes wait for a second.
	healthWithin = 900 * time.Millisecond

	// peersAtOnce is how many requests may go through all peers at a time.
	peersAtOnce = 2

	// statusHolds is how long a status is told again, for to make one the
	// daemon looks at every peer.
	statusHolds = 250 * time.Millisecond
)

// A reader answers what only reads.
type reader struct {
	source   Source
	health   time.Duration // healthWithin
	going    chan struct{} // one for each that goes through all peers
	underWay chan struct{} // one for each large answer
	stream   *streams

	mu     sync.Mutex
	status Status // what was told last
	when   time.Time
}

func newReader(source Source) *reader {
	return &reader{source: source, health: healthWithin, going: make(chan struct{}, peersAtOnce), underWay: make(chan struct{}, mostLarge), stream: newStreams()}
}

// add gives mux what r answers.
func (r *reader) add(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/status", r.tellStatus)
	mux.HandleFunc("GET /api/v1/peers", r.large(r.tellPeers))
	mux.HandleFunc("GET /api/v1/events", r.tellEvents)
	mux.HandleFunc("GET /api/v1/why", r.tellWhy)
	mux.HandleFunc("GET /api/v1/bans", r.large(r.tellBans))
	mux.HandleFunc("GET /healthz", r.healthz)
	mux.HandleFunc("GET /readyz", r.readyz)
	mux.HandleFunc("GET /metrics", r.large(metricsHandler(r.current, r.source).ServeHTTP))
}

// current returns a status that is hardly older than now. What it refers to must
// not be changed.
func (r *reader) current() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.when) >= statusHolds {
		r.status, r.when = r.source.Status(), now
	}
	return r.status
}

func (r *reader) tellStatus(w http.ResponseWriter, request *http.Request) {
	if !noParameters(w, request) {
		return
	}
	answer(w, http.StatusOK, r.current())
}

func (r *reader) tellPeers(w http.ResponseWriter, request *http.Request) {
	query, err := ParseQuery(request.URL.Query())
	if err != nil {
		refuse(w, err)
		return
	}
	if page, err := r.page(request.Context(), query); err == nil { // else the client has gone
		answer(w, http.StatusOK, page)
	}
}

// page returns what a query asks for, as soon as few enough others do so. To
// write it is no part of that, for a client may be slow.
func (r *reader) page(ctx context.Context, query Query) (PeerPage, error) {
	select {
	case r.going <- struct{}{}:
		defer func() { <-r.going }()
		return query.Page(r.source), nil
	case <-ctx.Done():
		return PeerPage{}, ctx.Err()
	}
}

func (r *reader) tellWhy(w http.ResponseWriter, request *http.Request) {
	parameters := request.URL.Query()
	for key := range parameters {
		if key != "address" {
			refuse(w, fmt.Errorf("unknown parameter %s; want address", printable(key)))
			return
		}
	}
	if len(parameters["address"]) > 1 {
		refuse(w, errors.New("address: it stands there twice; want one"))
		return
	}
	addr, err := ParseAddress(parameters.Get("address"))
	if err != nil {
		refuse(w, fmt.Errorf("address: %w", err))
		return
	}
	answer(w, http.StatusOK, r.source.Why(addr))
}

func (r *reader) tellBans(w http.ResponseWriter, request *http.Request) {
	if !noParameters(w, request) {
		return
	}
	list := r.source.Bans()
	if list.Bans == nil {
		list.Bans = []Ban{} // a list in JSON, too
	}
	answer(w, http.StatusOK, list)
}

// healthz says whether the relay makes turns.
func (r *reader) healthz(w http.ResponseWriter, request *http.Request) {
	ctx, cancel := context.WithTimeout(request.Context(), r.health)
	defer cancel()
	if err := r.source.Turn(ctx); err != nil {
		http.Error(w, "the relay makes no turn", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// readyz says whether the relay relays.
func (r *reader) readyz(w http.ResponseWriter, _ *http.Request) {
	if !r.current().Ready {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// noParameters refuses a request that has some.
func noParameters(w http.ResponseWriter, request *http.Request) bool {
	for key := range request.URL.Query() {
		refuse(w, fmt.Errorf("unknown parameter %s; want none", printable(key)))
		return false
	}
	return true
}

// refuse answers a request that cannot be understood.
func refuse(w http.ResponseWriter, err error) {
	answer(w, http.StatusBadRequest, &Failure{Message: err.Error(), Code: 64})
}

const (
	mostStreams = 32
	statusEvery = time.Second

	// streamTimeout is how long one that reads a stream may take for an event.
	streamTimeout = 10 * time.Second
)

// Streams are those that listen to events.
type streams struct {
	mu    sync.Mutex
	count int
	every time.Duration // statusEvery
}

func newStreams() *streams { return &streams{every: statusEvery} }

func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == mostStreams {
		return false
	}
	s.count++
	return true
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
}

// tellEvents sends the status at once and then every second, until the client goes
// or the daemon stops: server-sent events (WHATWG HTML, section 9.2).
func (r *reader) tellEvents(w http.ResponseWriter, request *http.Request) {
	if !noParameters(w, request) {
		return
	}
	if isHead(w, request, "text/event-stream") {
		return
	}
	if !r.stream.enter() {
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, &Failure{Message: fmt.Sprintf("%d clients listen to events already; want %d at most", mostStreams, mostStreams), Code: 69})
		return
	}
	defer r.stream.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	again := time.NewTicker(r.stream.every)
	defer again.Stop()
	var before Status
	for first := true; ; first = false {
		now := r.current()
		if err := control.SetWriteDeadline(time.Now().Add(streamTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		if !sendEvent(w, "status", now) {
			return
		}
		joined, left := now.Counters.Joined-before.Counters.Joined, now.Counters.Left-before.Counters.Left
		if !first && joined+left > 0 && !sendEvent(w, "change", Change{joined, left}) {
			return
		}
		if control.Flush() != nil {
			return
		}
		before = now
		select {
		case <-request.Context().Done():
			return
		case <-again.C:
		}
	}
}

// A Change is learned peers that came and went.
type Change struct {
	Joined uint64 `json:"joined"`
	Left   uint64 `json:"left"`
}

func sendEvent(w http.ResponseWriter, name string, body any) bool {
	_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, encode(body))
	return err == nil
}

// ServeHTTP answers, read only, what comes by listener until ctx is cancelled,
// and closes it. Page answers requests for "/" and for what is in "/assets/"; nil:
// nothing does.
//
// A web page of anybody can make a browser ask, under a name of its own that
// leads here (DNS rebinding): only requests for an IP address, for localhost, or
// for name are answered, and those for /healthz and /readyz, which show nothing.
func ServeHTTP(ctx context.Context, listener net.Listener, name string, source Source, page http.Handler, log *slog.Logger) error {
	mux := http.NewServeMux()
	newReader(source).add(mux)
	if page != nil {
		mux.Handle("GET /{$}", page)
		mux.Handle("GET /assets/", page)
	}
	return serveHandler(ctx, listener, onlyFor(name, mux), nil, log, finishTimeout)
}

// onlyFor refuses requests for other hosts.
func onlyFor(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !isOurs(request.Host, name) && !alive(request) {
			answer(w, http.StatusMisdirectedRequest, &Failure{Message: fmt.Sprintf("this is not %s; want an IP address or localhost", printable(request.Host)), Code: 64})
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, request)
	})
}

// isOurs reports whether the header Host is one that no foreign page can have.
func isOurs(host, name string) bool {
	if without, _, err := net.SplitHostPort(host); err == nil {
		host = without
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || host != "" && host == strings.ToLower(name)
}
