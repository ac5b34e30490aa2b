package dashboard

import (
	"fmt"
	"testing"

	"udprelay/internal/admin/dashboard/pagetest"
)

// Pairs of peers that answer each other are named in the header of the page. A
// new rate does not replace the names, which a screen reader would say again.
func TestPeersThatAnswerEachOtherAreNamed(t *testing.T) {
	s := startStandIn(t, 5)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	notice := `document.getElementById("talks")`
	p.Wait(`%s.hidden`, notice)
	seen := func(talks []talk, want string) {
		t.Helper()
		s.change(func() {
			s.talks = talks
			s.tell()
		})
		p.WaitText("talks", "Peers answer each other, perhaps in a loop: "+want+". If this is not intended, stop one of the two; limits.peer_datagrams_per_second bounds the rate.")
	}
	pair := func(n int, rate uint64) talk {
		return talk{fmt.Sprintf("10.0.0.%d:4000", n), fmt.Sprintf("10.0.0.%d:4001", n), rate}
	}
	seen([]talk{pair(1, 47123)}, "10.0.0.1:4000 and 10.0.0.1:4001 (47,123 times per second)")
	p.Eval(`document.getElementById("talk-list").firstElementChild.dataset.kept = ""`)
	seen([]talk{pair(1, 2000)}, "10.0.0.1:4000 and 10.0.0.1:4001 (2,000 times per second)")
	p.Wait(`"kept" in document.getElementById("talk-list").firstElementChild.dataset`)
	seen([]talk{pair(5, 9000), pair(2, 8000), pair(3, 7000), pair(4, 6000), pair(1, 5000)},
		"10.0.0.2:4000 and 10.0.0.2:4001 (8,000 times per second); 10.0.0.3:4000 and 10.0.0.3:4001 (7,000 times per second); 10.0.0.5:4000 and 10.0.0.5:4001 (9,000 times per second); and 2 more")
	s.change(func() {
		s.talks = nil
		s.tell()
	})
	p.Wait(`%s.hidden`, notice)
	p.Clean()
}
