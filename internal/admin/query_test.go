package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// somePeers returns n peers that joined one after the other.
func somePeers(n int) []*Peer {
	began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	list := make([]*Peer, n)
	for i := range list {
		heard := Time{began.Add(time.Duration(n-i) * time.Minute)}
		list[i] = &Peer{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(40000+i%7)),
			Joined:  Time{began.Add(time.Duration(i) * time.Second)}, Heard: &heard,
			State: "ok", May: "both", JoinedBy: "open", Received: uint64(i % 5), ReceivedRate: float64(i%3) / 2,
		}
	}
	return list
}

func addresses(page PeerPage) (list []string) {
	for _, p := range page.Peers {
		list = append(list, p.Address.String())
	}
	return list
}

func TestAQueryIsReadAsItIsWritten(t *testing.T) {
	for _, q := range []Query{
		{Limit: 100},
		{Offset: 7, Limit: 1000, Sort: "received_rate", Descending: true, Search: "192.0.2", State: "quarantined", Kind: "static"},
		{Limit: 1, Sort: "address", Kind: "learned"},
	} {
		got, err := ParseQuery(q.Values())
		if err != nil || got != q {
			t.Errorf("want %+v, got %+v, %v", q, got, err)
		}
	}
}

func TestABadQueryIsToldWhatWouldBeRight(t *testing.T) {
	for text, want := range map[string]string{
		"limit=0":                      `limit is "0"; want a number from 1 to 1000`,
		"limit=1001":                   `limit is "1001"; want a number from 1 to 1000`,
		"offset=-1":                    `offset is "-1"; want a number from 0 to 2147483647`,
		"limit=5&limit=6":              `"limit" is there 2 times; want it once`,
		"sort=speed":                   `sort: unknown field "speed"; want one of address, delivered, `,
		"state=dead":                   `state: unknown word "dead"; want one of ok, quarantined, cut, banned, overloading, failing, silent`,
		"kind=dynamic":                 `kind: unknown word "dynamic"; want one of static, learned, connected`,
		"page=1":                       `unknown parameter "page"; want offset, limit, sort, search, state or kind`,
		"search=" + rep("x", 257):      `search has 257 bytes; want 256 at most`,
		rep("%0a", 50) + "=1":          `unknown parameter "` + rep(`\n`, 40) + `"…; want `,
		"sort=--address":               `sort: unknown field "-address"; want one of `,
		"sort=" + url.QueryEscape("é"): `sort: unknown field "\u00e9"; want one of `,
	} {
		values, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseQuery(values); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", text, want, err)
		}
	}
}

func rep(text string, n int) string { return strings.Repeat(text, n) }

func TestAPageIsThePartThatIsAskedFor(t *testing.T) {
	q := Query{Offset: 2, Limit: 3}
	page := q.Select(somePeers(10))
	if page.Total != 10 || page.Matched != 10 || page.Offset != 2 {
		t.Errorf("want 10 of 10 from 2 on, got %d of %d from %d on", page.Matched, page.Total, page.Offset)
	}
	want := []string{"192.0.2.2:40002", "192.0.2.3:40003", "192.0.2.4:40004"}
	if diff := cmp.Diff(want, addresses(page)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, q := range []Query{{Offset: 10, Limit: 3}, {Offset: 1 << 30, Limit: 1000}} {
		page := q.Select(somePeers(10))
		if text, err := json.Marshal(page.Peers); string(text) != "[]" || err != nil {
			t.Errorf("want no peers behind the last, as an empty list, got %s, %v", text, err)
		}
	}
}

func TestPeersAreFiltered(t *testing.T) {
	make := func() []*Peer {
		list := somePeers(20)
		list[3].Static, list[3].Name, list[3].State = true, "Collector.example:2055", "quarantined"
		list[4].State = "quarantined"
		list[6].Address, list[6].Sender = netip.AddrPortFrom(list[6].Address.Addr(), 0), true
		return list
	}
	for _, test := range []struct {
		query Query
		want  []string
	}{
		{Query{Kind: "static"}, []string{"192.0.2.3:40003"}},
		{Query{State: "quarantined"}, []string{"192.0.2.3:40003", "192.0.2.4:40004"}},
		{Query{State: "quarantined", Kind: "learned"}, []string{"192.0.2.4:40004"}},
		{Query{Kind: "sender"}, []string{"192.0.2.6:0"}},
		{Query{Search: "192.0.2.6", Kind: "learned"}, nil},
		{Query{Search: "2.6:*"}, []string{"192.0.2.6:0"}},
		{Query{Search: "192.0.2.1:"}, []string{"192.0.2.1:40001"}},
		{Query{Search: "collector"}, []string{"192.0.2.3:40003"}},
		{Query{Search: "LECTOR.EX"}, []string{"192.0.2.3:40003"}},
		{Query{Search: "198.51"}, nil},
	} {
		test.query.Limit = 100
		page := test.query.Select(make())
		if diff := cmp.Diff(test.want, addresses(page)); diff != "" || page.Total != 20 || page.Matched != len(test.want) {
			t.Errorf("%+v (-want +got): %d of %d\n%s", test.query, page.Matched, page.Total, diff)
		}
	}
}

func TestPeersAreSortedByEveryField(t *testing.T) {
	for _, field := range SortFields() {
		for _, descending := range []bool{false, true} {
			list := somePeers(40)
			list[7].Heard, list[8].Expires = nil, list[8].Heard
			page := Query{Limit: 100, Sort: field, Descending: descending}.Select(list)
			order := orders[field]
			sorted := slices.IsSortedFunc(page.Peers, func(a, b Peer) int {
				if descending {
					a, b = b, a
				}
				return order(&a, &b)
			})
			if !sorted || len(page.Peers) != 40 {
				t.Errorf("%s, descending %t: want all 40 sorted, got %v", field, descending, addresses(page))
			}
		}
	}
	page := Query{Limit: 2, Sort: "address", Descending: true}.Select(somePeers(256))
	if diff := cmp.Diff([]string{"192.0.2.255:40003", "192.0.2.254:40002"}, addresses(page)); diff != "" {
		t.Errorf("by address as numbers (-want +got):\n%s", diff)
	}
}

// Every field that a person may want to sort by is one of the API, and all
// numbers and times of the API can be sorted by.
func TestSortFieldsAreThoseOfThePeer(t *testing.T) {
	text, err := json.Marshal(Peer{})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	fields["name"] = "" // left out where there is none
	for _, not := range []string{"static", "sender", "dropped", "reported"} {
		delete(fields, not)
	}
	for _, field := range SortFields() {
		if _, there := fields[field]; !there {
			t.Errorf("%s is no field of a peer", field)
		}
		delete(fields, field)
	}
	for field := range fields {
		t.Errorf("%s cannot be sorted by", field)
	}
}

func TestTimesAndSecondsSurviveJSON(t *testing.T) {
	now := Time{time.Date(2026, 11, 22, 23, 0, 0, 123456789, time.FixedZone("", 3600))}
	text, err := json.Marshal(struct {
		A Time
		B Seconds
	}{now, Seconds{1234567 * time.Microsecond}})
	if want := `{"A":"2026-11-22T22:00:00.123Z","B":1.235}`; string(text) != want || err != nil {
		t.Errorf("want %s, got %s, %v", want, text, err)
	}
	var back struct {
		A Time
		B Seconds
	}
	if err := json.Unmarshal(text, &back); err != nil || !back.A.Equal(now.Truncate(time.Millisecond)) || back.B.Duration != 1235*time.Millisecond {
		t.Errorf("want them back, got %v, %v", back, err)
	}
}

func TestAddressesAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7:40000": "192.0.2.7:40000", "[2001:db8::7]:1": "[2001:db8::7]:1", "192.0.2.7": "192.0.2.7:0", "2001:db8::7": "[2001:db8::7]:0",
		"[2001:db8::7]": "[2001:db8::7]:0", "::ffff:192.0.2.7": "192.0.2.7:0", "[::ffff:192.0.2.7]:5": "192.0.2.7:5", "fe80::1%2": "[fe80::1%2]:0",
		"192.0.2.7:*": "192.0.2.7:0", "192.0.2.7:0": "192.0.2.7:0", "[2001:db8::7]:*": "[2001:db8::7]:0",
	} {
		if got, err := ParseAddress(text); err != nil || got.String() != want {
			t.Errorf("%s: want %s, got %v, %v", text, want, got, err)
		}
	}
	for addr, want := range map[string]string{"192.0.2.7:40000": "192.0.2.7:40000", "192.0.2.7:0": "192.0.2.7:*", "[fe80::1%2]:0": "[fe80::1%2]:*"} {
		if got := AddressText(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("AddressText(%s): want %s, got %s", addr, want, got)
		}
	}
	for _, text := range []string{"", "example", "192.0.2.7:", "192.0.2.7:70000", "192.0.2.0/24", ":9000"} {
		if got, err := ParseAddress(text); err == nil {
			t.Errorf("%q: want an error, got %v", text, got)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("offset=7&limit=10&sort=-received&search=x&state=ok&kind=static")
	f.Add("sort=&limit=")
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := ParseQuery(values)
		if err != nil {
			return
		}
		again, err := ParseQuery(q.Values())
		if err != nil || again != q {
			t.Fatalf("want %+v again, got %+v, %v", q, again, err)
		}
		page := q.Select(somePeers(30))
		if len(page.Peers) > q.Limit || page.Matched > page.Total || len(page.Peers) > max(page.Matched-q.Offset, 0) {
			t.Fatalf("%+v: got %d of %d of %d", q, len(page.Peers), page.Matched, page.Total)
		}
	})
}

func BenchmarkSelect(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := somePeers(n)
			for b.Loop() {
				Query{Limit: 100, Sort: "received_rate", Descending: true, Search: "192.0"}.Select(slices.Clone(all))
			}
		})
	}
}
