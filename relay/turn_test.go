package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestTurnOfALoopThatWaits(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		clients := newPeers(t, r, near(r), 2)
		for n := range 300 {
			if err := r.Turn(t.Context()); err != nil {
				t.Fatalf("want turn %d; got %v", n, err)
			}
			if n%10 == 0 { // it waits as before
				clients[0].send("between turns")
				clients[1].wants("between turns")
			}
		}
		checkNoDrops(t, r)
	})
}

func TestTurnUnderConstantLoad(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		unload := load(t, r)
		defer unload()
		for n := range 100 {
			if err := r.Turn(t.Context()); err != nil {
				t.Fatalf("want turn %d; got %v", n, err)
			}
		}
	})
}

// wantNoTurn fails the test unless Turn ends with its context only.
func wantNoTurn(t *testing.T, r *Relay) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := r.Turn(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want no turn; got %v", err)
	}
}

func TestLoopThatHangsMakesNoTurn(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		client := newPeer(t, r, near(r))
		link := blockingLink{make(chan struct{}), make(chan struct{})}
		r.Attach(link)
		client.send("blocks")
		<-link.entered
		for range 3 {
			wantNoTurn(t, r)
		}
		waiting := make(chan error)
		go func() { waiting <- r.Turn(t.Context()) }()
		close(link.release)
		if err := <-waiting; err != nil {
			t.Errorf("want a turn of a loop that hangs no more; got %v", err)
		}
		if err := r.Turn(t.Context()); err != nil {
			t.Errorf("want another turn; got %v", err)
		}
	})
}

// A turnWitness is a link that notes whether a turn was answered before the
// batch that it is handed was over.
type turnWitness struct {
	turn     *turn
	answered *bool
}

func (turnWitness) Name() string { return "witness" }
func (w turnWitness) Deliver([]Datagram) {
	select {
	case <-w.turn.done:
		*w.answered = true
	default:
	}
}

// manyReceivers makes some hundred sockets static peers of r.
func manyReceivers(t *testing.T, r *Relay) (count int) {
	t.Helper()
	var addrs []netip.AddrPort
	for range 300 {
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(localhost4, 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		addrs = append(addrs, conn.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	r.SetStatic(addrs)
	return len(addrs)
}

// A batch for very many receivers takes longer than a watchdog waits.
func TestTurnWithinABatchForMany(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		count := manyReceivers(t, r)
		answered := false
		r.Attach(turnWitness{r.turns.ask(), &answered})
		b := newBatch()
		b.datagrams = append(b.datagrams, Datagram{Payload: []byte("x")})
		b.origins = append(b.origins, nil)
		if err := r.relay(b, r.receiving.sender, nil, new(tally)); err != nil {
			t.Fatal(err)
		}
		if !answered {
			t.Errorf("want a turn before %d have been sent to and links been told; got none", count)
		}
		if got := r.Stats().Delivered; got != uint64(count) {
			t.Errorf("want %d delivered; got %d", count, got)
		}
		checkNoDrops(t, r)
	})
}

// What links bring goes on also where the loop hangs.
func TestWhatLinksBringIsNoTurn(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		count := manyReceivers(t, r)
		answered := false
		turn := r.turns.ask()
		r.Attach(turnWitness{turn, &answered})
		if err := r.Attach(discard{}).Bring(datagrams("x")); err != nil {
			t.Fatal(err)
		}
		if got := r.Stats().Delivered; got != uint64(count) {
			t.Errorf("want %d delivered; got %d", count, got)
		}
		if answered || r.turns.ask() != turn {
			t.Error("want no turn of a loop that does not run; got one")
		}
	})
}

func TestNoTurnBeforeRunAndAfterIt(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		wantNoTurn(t, r)
		stop := run(t, r)
		if err := r.Turn(t.Context()); err != nil {
			t.Errorf("want a turn; got %v", err)
		}
		stop()
		for range 2 {
			if err := r.Turn(t.Context()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("want net.ErrClosed when Run has ended; got %v", err)
			}
		}
	})
}

// A turn that is asked for as the relay stops must not undo the stop.
func TestTurnsBesideTheStop(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for range 100 {
			r := makeRelay(t, w, on4, defaults())
			stop := run(t, r)
			if err := r.Turn(t.Context()); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() {
				for {
					if err := r.Turn(t.Context()); err != nil {
						ended <- err
						return
					}
				}
			}()
			stop()
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Fatalf("want net.ErrClosed in the end; got %v", err)
			}
		}
	})
}

// What links bring when the relay is stopped reaches everyone, and a link that
// hangs does not hold up the stop for ever.
func TestStopWaitsForWhatLinksBring(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		r.grace = patience
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		clients := newPeers(t, r, near(r), 2)
		blocking := blockingLink{make(chan struct{}, 10), make(chan struct{})}
		r.Attach(blocking)
		a := r.Attach(discard{})
		var texts []string
		for range 3*maxBatch + 1 {
			texts = append(texts, "brought at the last moment")
		}
		brought := make(chan error, 1)
		go func() { brought <- a.Bring(datagrams(texts...)) }()
		<-blocking.entered // with the first of four batches
		cancel()
		<-r.ended
		for !closed(r.Attach(discard{}).Bring(nil)) { // until links are told
			time.Sleep(time.Millisecond)
		}
		select {
		case err := <-ended:
			t.Fatalf("want Run to wait for what is being brought; got its end, %v", err)
		default:
		}
		close(blocking.release)
		if err := <-brought; err != nil {
			t.Errorf("want all brought; got %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("want no error; got %v", err)
		}
		for _, c := range clients {
			c.wants(texts...)
		}
		if s := r.Stats(); s.Delivered != uint64(2*len(texts)) {
			t.Errorf("want %d delivered; got %s", 2*len(texts), show(s))
		}
		checkNoDrops(t, r)
	})
}

func TestLinkThatHangsDoesNotHoldUpTheStop(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		r.grace = 10 * time.Millisecond
		stop := run(t, r)
		blocking := blockingLink{make(chan struct{}, 10), make(chan struct{})}
		r.Attach(blocking)
		a := r.Attach(discard{})
		brought := make(chan error, 1)
		go func() { brought <- a.Bring(datagrams("one")) }()
		<-blocking.entered
		stop()
		close(blocking.release)
		if err := <-brought; err != nil {
			t.Errorf("want one batch brought; got %v", err)
		}
	})
}
