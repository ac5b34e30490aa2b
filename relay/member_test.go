package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"udprelay/peers"
)

// A voice is a member that takes all it is handed, or drops it.
type voice struct {
	*recorder
	addr  netip.AddrPort
	place *Attachment
	full  atomic.Bool // it has no room
	gone  atomic.Int32
}

// newVoice returns one that has not been admitted.
func newVoice(e *Entrance, port uint16) *voice {
	v := &voice{recorder: newRecorder(fmt.Sprint(port)), addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 10}), port)}
	v.place = e.Member(v)
	return v
}

// newVoices returns members of r, who share an entrance.
func newVoices(t testing.TB, r *Relay, count int) []*voice {
	t.Helper()
	e := r.Entrance()
	voices := make([]*voice, count)
	for i := range voices {
		voices[i] = newVoice(e, uint16(1000+i))
		voices[i].admit(t, peers.Joined)
	}
	return voices
}

func (v *voice) admit(t testing.TB, want peers.Verdict) {
	t.Helper()
	if got := v.place.Admit(v.addr, peers.TCP, peers.JoinOpen); got != want {
		t.Fatalf("want the verdict %q of %v; got %q", want, v.addr, got)
	}
}

func (v *voice) Deliver(batch []Datagram) {
	if v.full.Load() {
		v.place.Dropped(DropQueueFull, len(batch))
		return
	}
	bytes := 0
	for _, d := range batch {
		bytes += len(d.Payload)
	}
	v.place.Delivered(len(batch), bytes)
	v.recorder.Deliver(batch)
}

func (v *voice) Gone() { v.gone.Add(1) }

// checkBalance fails the test unless all that was due is accounted for.
func checkBalance(t testing.TB, r *Relay) {
	t.Helper()
	awaitStats(t, r, "every datagram accounted for", func(s Stats) bool {
		in, out := s.KeepAlives+s.Relayed, s.Delivered
		for _, reason := range Drops() {
			if reason.OnTheWayOut() {
				out += s.Dropped[reason]
			} else if reason != DropReceiveQueueFull {
				in += s.Dropped[reason]
			}
		}
		return s.Received == in && s.Due == out
	})
}

func TestMembersHearEveryoneElseInOrder(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		clients, voices, link := newPeers(t, r, near(r), 2), newVoices(t, r, 3), newRecorder("link")
		a := r.Attach(link)
		for n, v := range voices {
			var said []string
			for i := range 2*maxBatch + 3 {
				said = append(said, fmt.Sprintf("%d %d %s", n, i, strings.Repeat("x", i)))
			}
			bring(t, v.place, said...)
			for _, c := range clients {
				c.wants(said...)
			}
			for _, other := range voices {
				if other != v {
					other.wants(t, said...)
				}
			}
			link.wants(t, said...)
		}
		clients[0].send("by UDP")
		clients[1].wants("by UDP")
		for _, v := range voices {
			v.wants(t, "by UDP")
		}
		bring(t, a, "by a link")
		for _, v := range voices {
			v.wants(t, "by a link") // and nothing of its own before
		}
		for _, c := range clients {
			c.wants("by a link")
		}
		checkBalance(t, r)
		checkNoDrops(t, r)
		said := uint64(2*maxBatch + 3)
		if s, of := r.Stats(), r.PeerStats(voices[0].place.Peer()); s.Due != 3*said*4+4+5 || of.Received != said || of.Delivered != 2*said+2 {
			t.Errorf("want %d said by each, %d due in all; got %+v, %s", said, 3*said*4+9, of, show(s))
		}
		if link := voices[0].place.Peer(); link.Transport() != peers.TCP || a.Peer() != nil {
			t.Errorf("want a member with a peer by tcp, a link without; got %v, %v", link.Transport(), a.Peer())
		}
	})
}

// A member's datagrams are judged as those of every peer.
func TestMembersAreJudged(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Limits.PeerDatagrams = 5
		options.Peers.Access = []peers.Rule{rule("192.0.2.10", peers.MayReceive), rule("127.0.0.0/8", peers.MayBoth)}
		r := startRelay(t, w, on4, options)
		client, v := newPeer(t, r, near(r)), newVoices(t, r, 1)[0]
		bring(t, v.place, "from one who may only receive", "", "again")
		client.send("to one who may receive")
		v.wants(t, "to one who may receive")
		checkBalance(t, r)
		if s := r.Stats(); s.Dropped[DropMayNotSend] != 2 || s.KeepAlives != 2 || s.Due != 1 {
			t.Errorf("want 2 drops and a keep-alive more; got %s", show(s))
		}
		options.Peers.Access = []peers.Rule{rule("192.0.2.10", peers.MaySend), rule("127.0.0.0/8", peers.MayBoth)}
		r.Apply(options)
		client.send("to nobody")
		bring(t, v.place, "1", "2", "3", "4", "5", "6", "7")
		client.wants("1", "2", "3", "4", "5")
		awaitStats(t, r, "2 drops for the rate", func(s Stats) bool { return s.Dropped[DropPeerRate] == 2 && s.NoReceiver == 1 })
		checkBalance(t, r)
		if of := r.PeerStats(v.place.Peer()); of.Dropped[DropPeerRate] != 2 || of.Dropped[DropMayNotSend] != 2 || of.Received != 10 || of.Delivered != 1 {
			t.Errorf("want its peer to count the same; got %+v", of)
		}
	})
}

func TestMembersThatHaveNoRoomAreFailing(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		client, voices := newPeer(t, r, near(r)), newVoices(t, r, 2)
		slow, other := voices[0], voices[1]
		slow.full.Store(true)
		client.send("to one without room")
		other.wants(t, "to one without room")
		checkBalance(t, r)
		if of := r.PeerStats(slow.place.Peer()); of.Dropped[DropQueueFull] != 1 || of.Delivered != 0 {
			t.Errorf("want one drop; got %+v", of)
		}
		if state := r.PeerState(slow.place.Peer()); state.State != StateFailing {
			t.Errorf("want it failing; got %v", state)
		}
		if want, got := "the datagrams of others are sent to it, but lately did not leave: it takes them too slowly", r.Explain(slow.addr).ToVerdict; got != want {
			t.Errorf("want %q; got %q", want, got)
		}
		x := r.Explain(other.addr)
		if x.Peer != other.place.Peer() || !x.Relayed || !x.Sent || x.FromVerdict != "its datagrams would be relayed to 2 peers" {
			t.Errorf("want the connected peer explained; got %+v", x)
		}
		if !slices.ContainsFunc(x.From, func(s Step) bool { return strings.HasSuffix(s.Result, "connected by tcp") }) {
			t.Errorf("want it said that it is connected; got %+v", x.From)
		}
	})
}

func TestMembersThatAreTakenOutAreTold(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		client, voices := newPeer(t, r, near(r)), newVoices(t, r, 4)
		kicked, banned, left, stays := voices[0], voices[1], voices[2], voices[3]
		r.Peers().Kick(func(p *peers.Peer) bool { return p == kicked.place.Peer() })
		client.send("after the kick")
		banned.wants(t, "after the kick")
		left.place.Detach()
		left.place.Detach() // again does no harm
		if err := left.place.Bring(datagrams("x")); err != ErrDetached {
			t.Errorf("want %v; got %v", ErrDetached, err)
		}
		from := netip.PrefixFrom(banned.addr.Addr(), 32)
		if _, err := r.Peers().Ban(from, time.Time{}, "", time.Now()); err != nil {
			t.Fatal(err)
		}
		for i, v := range []*voice{kicked, banned, left, stays} {
			if n := v.gone.Load(); n != 1 {
				t.Errorf("member %d: want it told once; got %d", i, n)
			}
			if err := v.place.Bring(datagrams("x")); err != ErrDetached {
				t.Errorf("member %d: want %v; got %v", i, ErrDetached, err)
			}
		}
		// Those that have not been detached are in the lists, but get nothing.
		client.send("to nobody")
		awaitStats(t, r, "nobody there", func(s Stats) bool { return s.NoReceiver == 1 })
		for _, v := range voices {
			v.place.Detach()
		}
		if now := r.attached.Load(); len(now.members) != 0 || len(r.Peers().Peers()) != 1 {
			t.Errorf("want nobody left but the client; got %d members, %d peers", len(now.members), len(r.Peers().Peers()))
		}
		newVoice(r.Entrance(), 1).admit(t, peers.Banned)
		checkBalance(t, r)
	})
}

func TestMembersAreAdmittedAsLearnedPeersAre(t *testing.T) {
	options := guarded(peers.JoinSecret)
	options.Secret = []byte("secret")
	options.Peers.Max = 1
	r := startRelay(t, ways[0], on4, options)
	e := r.Entrance()
	v, more := newVoice(e, 7), newVoice(e, 8) // 7 is a port that never is a learned peer by UDP
	v.admit(t, peers.NeedsSecret)
	if got := v.place.Admit(v.addr, peers.SecureWebSocket, peers.JoinSecret); got != peers.Joined {
		t.Fatalf("want it to join with the secret; got %q", got)
	}
	if p := v.place.Peer(); p.Transport() != peers.SecureWebSocket || p.Proof() != peers.JoinSecret || p.Addr() != v.addr {
		t.Errorf("want a peer by wss; got %v, %v, %v", p.Transport(), p.Proof(), p.Addr())
	}
	more.admit(t, peers.TableFull)
	if list := r.Remember(); len(list) != 0 {
		t.Errorf("want connected peers left out of what is remembered; got %v", list)
	}
	v.place.Detach()
	more.admit(t, peers.NeedsSecret)
	more.place.Detach() // it never was admitted
	if more.gone.Load() != 0 {
		t.Error("want it not told, for it never came")
	}
}

func TestEgressLimitHoldsForMembers(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Limits.EgressBytes = 1000
		r := startRelay(t, w, on4, options)
		client, voices := newPeer(t, r, near(r)), newVoices(t, r, 2)
		text := strings.Repeat("x", 600)
		bring(t, voices[0].place, text, text+"y", text+"z")
		client.wants(text)
		voices[1].wants(t, text)
		checkBalance(t, r)
		if s := r.Stats(); s.Due != 6 || s.Dropped[DropEgressLimit] != 4 {
			t.Errorf("want 4 of 6 dropped; got %s", show(s))
		}
		for i, want := range []uint64{0, 2} {
			if of := r.PeerStats(voices[i].place.Peer()); of.Dropped[DropEgressLimit] != want {
				t.Errorf("member %d: want %d dropped; got %+v", i, want, of)
			}
		}
	})
}

// A member that brings back what it gets is cut as another peer is.
func TestStormOfMembersIsCut(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		client, voices := newPeer(t, r, near(r)), newVoices(t, r, 2)
		stop := make(chan struct{})
		var echoing sync.WaitGroup
		for _, v := range voices {
			echoing.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-v.more:
					}
					v.mu.Lock()
					got := v.got
					v.got = nil
					v.mu.Unlock()
					v.place.Bring(datagrams(got...))
				}
			})
		}
		go func() {
			for buffer := make([]byte, 100); ; {
				if _, err := client.conn.Read(buffer); err != nil {
					return
				}
			}
		}()
		cut := func() (count int) {
			for _, v := range voices {
				if r.PeerState(v.place.Peer()).State == StateCut {
					count++
				}
			}
			return count
		}
		n := 0
		await(t, func() bool { // a loop of one payload ends in a trial
			n++
			client.send(fmt.Sprintf("datagram %d that goes round and round", n))
			return cut() > 0 && r.Stats().Dropped[DropStorm] > 0
		}, func() string { return "want a member cut; got " + show(r.Stats()) })
		close(stop)
		echoing.Wait()
		checkBalance(t, r)
		if r.Stats().Dropped[DropWithheld] == 0 {
			t.Errorf("want some datagrams withheld before; got %s", show(r.Stats()))
		}
		client.conn.Close()
	})
}

// Members come and go, speak and are kicked, all at once.
func TestManyMembersAtOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		e, client := r.Entrance(), newPeer(t, r, near(r))
		stop := make(chan struct{})
		var kicking sync.WaitGroup
		kicking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				r.Peers().Kick(func(p *peers.Peer) bool { return p.Connected() && p.Number()%3 == 0 })
				client.send(fmt.Sprint("by UDP ", n))
			}
		})
		var members sync.WaitGroup
		for i := range 4 {
			members.Go(func() {
				for n := range 100 {
					v := newVoice(e, uint16(1000*i+n+1))
					v.admit(t, peers.Joined)
					for range 3 {
						v.place.Bring(datagrams("one", "", "two"))
					}
					v.place.Detach()
					if gone := v.gone.Load(); gone != 1 {
						t.Errorf("want a member told once that it is gone; got %d", gone)
					}
				}
			})
		}
		members.Wait()
		close(stop)
		kicking.Wait()
		checkBalance(t, r)
		if now := r.attached.Load(); len(now.members) != 0 || len(r.Peers().Peers()) != 1 {
			t.Errorf("want nobody left but the client; got %d members, %d peers", len(now.members), len(r.Peers().Peers()))
		}
	})
}

// A relay that is stopped takes no more of its members.
func TestMembersOfAStoppedRelay(t *testing.T) {
	r := makeRelay(t, ways[0], on4, defaults())
	stop := run(t, r)
	v := newVoices(t, r, 1)[0]
	stop()
	if err := v.place.Bring(datagrams("too late")); !closed(err) {
		t.Errorf("want a closed relay; got %v", err)
	}
	v.place.Detach()
	if v.gone.Load() != 1 {
		t.Error("want it told that it is gone")
	}
}

// A quietVoice takes all and keeps nothing.
type quietVoice struct {
	discard
	place *Attachment
}

func (v *quietVoice) Deliver(batch []Datagram) { v.place.Delivered(len(batch), 0) }
func (*quietVoice) Gone()                      {}

// What members bring and get takes no memory, either.
func TestMembersAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: this is tested without it")
		return
	}
	options := defaults()
	options.Limits.EgressBytes = 1 << 30
	r := makeRelay(t, ways[0], on4, options)
	e := r.Entrance()
	var voices []*quietVoice
	for i := range 10 {
		v := new(quietVoice)
		v.place = e.Member(v)
		if verdict := v.place.Admit(numbered(uint16(100+i)), peers.TLS, peers.JoinOpen); verdict.Refused() {
			t.Fatal(verdict)
		}
		voices = append(voices, v)
	}
	batch := datagrams(numberedTexts(0, maxBatch, 50)...)
	if allocs := testing.AllocsPerRun(100, func() { voices[0].place.Bring(batch) }); allocs != 0 {
		t.Errorf("want no allocations for a batch to nine members; got %v", allocs)
	}
	if of := r.PeerStats(voices[9].place.Peer()); of.Delivered == 0 || r.PeerStats(voices[0].place.Peer()).Delivered != 0 {
		t.Errorf("want all but the one that brought it to get it; got %+v", of)
	}
}
