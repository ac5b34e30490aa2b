package relay

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Many links bring at once, beside peers that speak and links that come and go:
// everyone gets all that the others say, each in order.
func TestManyLinksAtOnceKeepOrder(t *testing.T) {
	const (
		bringers, speakers = 4, 3
		batches, length    = 3, 5 // of each bringer in a round
		spoken             = 15   // of each peer in a round
	)
	rounds := 40
	if raceEnabled {
		rounds = 10
	}
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, onAll, defaults())
		clients := append(newPeers(t, r, at(r, "127.0.0.1"), speakers-1), newPeer(t, r, at(r, "::1")))
		var links []*recorder
		var attached []*Attachment
		for i := range bringers {
			links = append(links, newRecorder(fmt.Sprint(i)))
			attached = append(attached, r.Attach(links[i]))
		}
		for round := range rounds {
			var all sync.WaitGroup
			for i, a := range attached {
				all.Go(func() {
					for b := range batches {
						var texts []string
						for n := range length {
							texts = append(texts, fmt.Sprintf("link%d round%d %d", i, round, b*length+n))
						}
						if err := a.Bring(datagrams(texts...)); err != nil {
							t.Errorf("want no error; got %v", err)
						}
					}
				})
			}
			for i, c := range clients {
				all.Go(func() {
					for n := range spoken {
						if _, err := c.conn.Write(fmt.Appendf(nil, "peer%d round%d %d", i, round, n)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Go(func() {
				for range 5 {
					guest := r.Attach(discard{})
					guest.Bring(nil)
					guest.Detach()
				}
			})
			all.Wait()
			// Whoever speaks hears all but itself.
			const brought, said = bringers * batches * length, speakers * spoken
			for i, c := range clients {
				var got []string
				for range brought + said - spoken {
					got = append(got, c.receive())
				}
				checkOrder(t, fmt.Sprintf("peer%d", i), round, got)
			}
			for i, l := range links {
				checkOrder(t, fmt.Sprintf("link%d", i), round, l.take(t, brought+said-batches*length))
			}
			if t.Failed() {
				return
			}
		}
		checkNoDrops(t, r)
	})
}

// checkOrder fails the test unless the datagrams of each origin are in order,
// complete, of this round, and none by whom.
func checkOrder(t *testing.T, whom string, round int, got []string) {
	t.Helper()
	next := make(map[string]int)
	for _, text := range got {
		origin, _, _ := strings.Cut(text, " ")
		if want := fmt.Sprintf("%s round%d %d", origin, round, next[origin]); text != want || origin == whom {
			t.Errorf("want %q at %s; got %q", want, whom, text)
			return
		}
		next[origin]++
	}
	if len(next) != 6 {
		t.Errorf("want datagrams of 6 origins at %s; got %v", whom, next)
	}
}
