package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A standIn answers as the daemon does, with what the test says. Its clock goes
// on only by step, so no figure changes by itself.
type standIn struct {
	t       testing.TB
	address string

	mu      sync.Mutex // guards what follows
	server  *http.Server
	started time.Time
	now     time.Time
	version string
	peers   []peer
	rules   []rule
	counts  map[string]uint64
	drops   map[string]uint64
	rates   map[string]float64 // of the last second
	cluster map[string]any     // nil: the daemon is too old to know of one
	talks   []talk             // the fastest first
	streams map[chan []byte]bool
	refuse  bool          // streams, as with 32 of them
	whys    string        // the last address asked why
	held    chan struct{} // while not nil, answers wait for its end
	running sync.WaitGroup
}

type rule struct {
	From    string `json:"from"`
	May     string `json:"may"`
	Join    string `json:"join"`
	Refused uint64 `json:"refused"`
	Peers   int    `json:"peers"`
}

type talk struct {
	A         string `json:"a"`
	B         string `json:"b"`
	PerSecond uint64 `json:"per_second"`
}

type peer struct {
	Address            string            `json:"address"`
	Transport          string            `json:"transport"`
	Static             bool              `json:"static"`
	Name               string            `json:"name,omitempty"`
	May                string            `json:"may"`
	JoinedBy           string            `json:"joined_by"`
	Joined             *time.Time        `json:"joined"`
	Heard              *time.Time        `json:"heard"`
	Expires            *time.Time        `json:"expires"`
	State              string            `json:"state"`
	Received           uint64            `json:"received"`
	ReceivedBytes      uint64            `json:"received_bytes"`
	Delivered          uint64            `json:"delivered"`
	DeliveredBytes     uint64            `json:"delivered_bytes"`
	Dropped            map[string]uint64 `json:"dropped"`
	DroppedTotal       uint64            `json:"dropped_total"`
	ReceivedRate       float64           `json:"received_rate"`
	ReceivedBytesRate  float64           `json:"received_bytes_rate"`
	DeliveredRate      float64           `json:"delivered_rate"`
	DeliveredBytesRate float64           `json:"delivered_bytes_rate"`
}

// startStandIn starts one with n peers on a free port.
func startStandIn(t testing.TB, n int) *standIn {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	s := &standIn{
		t: t, address: "127.0.0.1:0", started: now.Add(-27 * time.Hour), now: now, version: "1.4.0",
		peers: somePeers(n, now),
		rules: []rule{
			{"loopback", "both", "open", 0, 1}, {"private", "both", "open", 0, n}, {"link-local", "both", "open", 0, 0},
			{"198.51.100.0/24", "receive", "cookie", 1204, 0}, {"", "nothing", "", 40312, 0},
		},
		counts: map[string]uint64{
			"received": 48_120_334, "received_bytes": 9_624_066_800, "keep_alives": 120_011, "relayed": 47_900_112,
			"delivered": 4_790_011_200, "delivered_bytes": 958_002_240_000, "joined": 18_204, "left": 5991,
		},
		drops: map[string]uint64{},
		rates: map[string]float64{"received": 0, "received_bytes": 0, "delivered": 0, "delivered_bytes": 0, "dropped": 0},
	}
	for _, reason := range []string{
		"rule", "banned", "table_full", "address_full", "never_a_peer", "may_not_send", "unproven", "bad_proof", "join_rate", "peer_rate", "storm", "withheld", "overload",
		"receive_queue_full", "egress_limit", "quarantined", "too_big", "filtered", "unreachable", "no_buffer", "queue_full", "disconnected", "stopped", "send_failed",
	} {
		s.drops[reason] = 0
	}
	s.drops["rule"], s.drops["no_buffer"], s.drops["quarantined"], s.drops["receive_queue_full"] = 41_516, 20_417, 3880, 212
	s.start()
	t.Cleanup(s.stop)
	return s
}

// somePeers returns n peers, the same ones each time.
func somePeers(n int, now time.Time) []peer {
	at := func(d time.Duration) *time.Time { w := now.Add(-d).Truncate(time.Millisecond); return &w }
	list := make([]peer, 0, n)
	for i := range n {
		p := peer{
			Address: fmt.Sprintf("10.%d.%d.%d:%d", i>>14, i>>7&127, 1+i&127, 40000+i%20000), Transport: "udp", May: "both", JoinedBy: "open", State: "ok",
			Joined: at(time.Duration(i+3) * 7 * time.Second), Heard: at(time.Duration(i%50) * time.Second), Expires: at(time.Duration(i%50-60) * time.Second),
			Received: uint64(i) * 37, ReceivedBytes: uint64(i) * 37 * 190, Delivered: 4_790_000 - uint64(i), DeliveredBytes: (4_790_000 - uint64(i)) * 200,
			ReceivedRate: float64(i%97) / 2, ReceivedBytesRate: float64(i%97) * 95, DeliveredRate: 1210.4, DeliveredBytesRate: 242_080,
			Dropped: map[string]uint64{},
		}
		switch {
		case i%1000 == 7:
			p.Static, p.JoinedBy, p.Expires, p.Heard = true, "static", nil, nil
			p.Name, p.State, p.ReceivedRate, p.ReceivedBytesRate = fmt.Sprintf("collector-%d.example:2055", i/1000), "silent", 0, 0
		case i%1000 == 13:
			p.Address = fmt.Sprintf("[2001:db8:0:%x::%x]:5004", i, i+1)
		case i%500 == 21:
			p.State, p.Dropped, p.DroppedTotal = "quarantined", map[string]uint64{"quarantined": 194, "no_buffer": 3}, 197
			p.DeliveredRate, p.DeliveredBytesRate = 0, 0
		case i == 27:
			p.Transport, p.JoinedBy, p.Expires = "wss", "connection", nil
		case i == 33:
			p.State = "cut"
		}
		list = append(list, p)
	}
	return list
}

func (s *standIn) url() string { return "http://" + s.address + "/" }

// start begins to answer, at the previous address if there was one.
func (s *standIn) start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Write(s.status())
	})
	mux.HandleFunc("GET /api/v1/events", s.serveEvents)
	mux.HandleFunc("GET /api/v1/peers", s.servePeers)
	mux.HandleFunc("GET /api/v1/why", s.serveWhy)
	mux.Handle("GET /{$}", Handler())
	mux.Handle("GET /assets/", Handler())
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		held := s.held
		s.mu.Unlock()
		if held != nil {
			select {
			case <-held:
			case <-r.Context().Done():
				return
			}
		}
		mux.ServeHTTP(w, r)
	})}
	s.mu.Lock()
	s.address, s.server, s.streams = listener.Addr().String(), server, make(map[chan []byte]bool)
	s.mu.Unlock()
	s.running.Go(func() { server.Serve(listener) })
}

// stop ends every connection and answers no more.
func (s *standIn) stop() {
	s.mu.Lock()
	server, streams := s.server, s.streams
	s.streams = nil
	s.mu.Unlock()
	for stream := range streams {
		close(stream)
	}
	server.Close()
	s.running.Wait()
}

// restart starts it again, as a new process: all counts are 0.
func (s *standIn) restart() {
	s.mu.Lock()
	s.started = s.now
	for name := range s.counts {
		s.counts[name] = 0
	}
	for name := range s.rates {
		s.rates[name] = 0
	}
	for reason := range s.drops {
		s.drops[reason] = 0
	}
	s.mu.Unlock()
	s.start()
}

// step lets a second pass with so many datagrams of 200 bytes in, each to all
// of 100 receivers, and the drops, and tells all streams.
func (s *standIn) step(received uint64, drops map[string]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pass(time.Second)
	s.counts["received"] += received
	s.counts["received_bytes"] += received * 200
	s.counts["relayed"] += received
	s.counts["delivered"] += received * 100
	s.counts["delivered_bytes"] += received * 100 * 200
	dropped := uint64(0)
	for reason, n := range drops {
		s.drops[reason] += n
		dropped += n
	}
	s.rates = map[string]float64{
		"received": float64(received), "received_bytes": float64(received * 200),
		"delivered": float64(received * 100), "delivered_bytes": float64(received * 100 * 200), "dropped": float64(dropped),
	}
	s.tell()
}

// tell tells all streams how it is now. s.mu is held.
func (s *standIn) tell() {
	if s.held != nil {
		return
	}
	for stream := range s.streams {
		stream <- s.status()
	}
}

// pass lets time pass, in which learned peers are heard. s.mu is held.
func (s *standIn) pass(d time.Duration) {
	s.now = s.now.Add(d)
	for _, p := range s.peers {
		if p.Heard != nil {
			*p.Heard = p.Heard.Add(d)
		}
		if p.Expires != nil {
			*p.Expires = p.Expires.Add(d)
		}
	}
}

// hold keeps all answers and events back, until the function that it returns
// is called.
func (s *standIn) hold() (release func()) {
	held := make(chan struct{})
	s.change(func() { s.held = held })
	return func() {
		s.change(func() { s.held = nil })
		close(held)
	}
}

func (s *standIn) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// status returns it as JSON. s.mu is held.
func (s *standIn) status() []byte {
	static, quarantined, connected := 0, 0, 0
	for _, p := range s.peers {
		if p.Static {
			static++
		}
		if p.State == "quarantined" {
			quarantined++
		}
		if p.Transport != "udp" {
			connected++
		}
	}
	status := map[string]any{
		"version": s.version, "started": s.started, "now": s.now, "uptime_seconds": s.now.Sub(s.started).Seconds(),
		"listen": "[::]:9000", "way": "sendmmsg, in trains", "ready": true,
		"peers": map[string]int{
			"learned": len(s.peers) - static, "static": static, "receivers": len(s.peers) - quarantined, "max": 10000,
			"quarantined": quarantined, "banned": 2, "connected": connected,
		},
		"counters": s.counts, "drops": s.drops, "rules": s.rules,
		"rates":   s.rates,
		"talks":   append([]talk{}, s.talks...),
		"buffers": map[string]int{"receive": 8 << 20, "receive_used": 213_504, "send": 8 << 20, "send_used": 2_621_440},
	}
	if s.cluster != nil {
		status["cluster"] = s.cluster
	}
	text, err := json.Marshal(status)
	if err != nil {
		panic(err)
	}
	return text
}

func (s *standIn) serveEvents(w http.ResponseWriter, r *http.Request) {
	stream := make(chan []byte, 2000)
	s.mu.Lock()
	if s.refuse || s.streams == nil {
		s.mu.Unlock()
		fail(w, http.StatusServiceUnavailable, "there are 32 streams already", "")
		return
	}
	s.streams[stream] = true
	stream <- s.status()
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	alive := time.NewTicker(time.Second)
	defer alive.Stop()
	for {
		select {
		case status, ok := <-stream:
			if !ok {
				return
			}
			fmt.Fprintf(w, "event: status\ndata: %s\n\n", status)
			w.(http.Flusher).Flush()
		case <-alive.C:
			s.change(func() {
				if len(stream) == 0 && s.streams[stream] && s.held == nil { // else there is news, or an end
					stream <- s.status()
				}
			})
		case <-r.Context().Done():
			s.change(func() { delete(s.streams, stream) })
			return
		}
	}
}

func (s *standIn) servePeers(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	matched := slices.DeleteFunc(slices.Clone(s.peers), func(p peer) bool {
		search := query.Get("search")
		return !strings.Contains(p.Address, search) && !strings.Contains(p.Name, search) ||
			query.Get("state") != "" && p.State != query.Get("state") ||
			query.Get("kind") != "" && p.Static != (query.Get("kind") == "static")
	})
	field, down := strings.CutPrefix(query.Get("sort"), "-")
	order, ok := orders[field]
	if !ok {
		fail(w, http.StatusBadRequest, "peers cannot be sorted by "+field, "sort by address")
		return
	}
	slices.SortStableFunc(matched, func(a, b peer) int {
		if down {
			a, b = b, a
		}
		return order(a, b)
	})
	offset, _ := strconv.Atoi(query.Get("offset"))
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil {
		fail(w, http.StatusBadRequest, "limit: "+err.Error(), "")
		return
	}
	from := min(offset, len(matched))
	json.NewEncoder(w).Encode(map[string]any{
		"total": len(s.peers), "matched": len(matched), "offset": offset, "peers": matched[from:min(from+limit, len(matched))],
	})
}

var orders = map[string]func(a, b peer) int{
	"address": func(a, b peer) int {
		x, _ := netip.ParseAddrPort(a.Address)
		y, _ := netip.ParseAddrPort(b.Address)
		return x.Compare(y)
	},
	"received_rate":        func(a, b peer) int { return cmp.Compare(a.ReceivedRate, b.ReceivedRate) },
	"received_bytes_rate":  func(a, b peer) int { return cmp.Compare(a.ReceivedBytesRate, b.ReceivedBytesRate) },
	"delivered_rate":       func(a, b peer) int { return cmp.Compare(a.DeliveredRate, b.DeliveredRate) },
	"delivered_bytes_rate": func(a, b peer) int { return cmp.Compare(a.DeliveredBytesRate, b.DeliveredBytesRate) },
	"dropped_total":        func(a, b peer) int { return cmp.Compare(a.DroppedTotal, b.DroppedTotal) },
	"joined":               func(a, b peer) int { return a.Joined.Compare(*b.Joined) },
	"heard":                func(a, b peer) int { return heard(a).Compare(heard(b)) },
}

func heard(p peer) time.Time {
	if p.Heard == nil {
		return time.Time{}
	}
	return *p.Heard
}

func (s *standIn) serveWhy(w http.ResponseWriter, r *http.Request) {
	address := r.URL.Query().Get("address")
	s.change(func() { s.whys = address })
	if address == "10.9.9.9" {
		fail(w, http.StatusBadRequest, "nobody knows <b>it</b>", "ask another")
		return
	}
	json.NewEncoder(w).Encode(map[string]any{
		"address": address, "verdict": "It would be relayed to 9,979 peers.",
		"would": []map[string]string{
			{"step": "never a peer", "result": "no"}, {"step": "ban", "result": "none"},
			{"step": "access[1] from private may both", "result": "matches"}, {"step": "limits", "result": "none"},
		},
		"did": []map[string]any{{"reason": "no_buffer", "count": 3, "last": s.started}},
	})
}

func fail(w http.ResponseWriter, status int, message, hint string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"message": message, "hint": hint, "exit_code": 64})
}
