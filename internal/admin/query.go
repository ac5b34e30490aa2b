package admin

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPage = 100
	mostPage    = 1000
	mostSearch  = 256 // bytes
)

// A Query asks for a part of the peers, in an order.
type Query struct {
	Offset, Limit int
	Sort          string // the key of a field; "": the order in which they joined
	Descending    bool
	Search        string // what the address or the name contains
	State         string // "": any
	Kind          string // static, learned, connected, sender, or "" for all
}

// Values writes q as a URL does.
func (q Query) Values() url.Values {
	values := url.Values{}
	set := func(key, value string) {
		if value != "" {
			values.Set(key, value)
		}
	}
	if q.Offset > 0 {
		set("offset", strconv.Itoa(q.Offset))
	}
	if q.Limit > 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	if q.Sort != "" && q.Descending {
		set("sort", "-"+q.Sort)
	} else {
		set("sort", q.Sort)
	}
	set("search", q.Search)
	set("state", q.State)
	set("kind", q.Kind)
	return values
}

// peerStates are the states that a peer can have.
var peerStates = []string{"ok", "quarantined", "cut", "banned", "overloading", "failing", "silent"}

// peerKinds are the kinds of peers; the connected ones are learned ones, too.
// Senders are listed with them.
var peerKinds = []string{"static", "learned", "connected", "sender"}

// ParseQuery reads what Values writes. The error says what would be right.
func ParseQuery(values url.Values) (q Query, err error) {
	q.Limit = defaultPage
	for key, list := range values {
		if len(list) != 1 {
			return q, fmt.Errorf("%s is there %d times; want it once", printable(key), len(list))
		}
		value := list[0]
		switch key {
		case "offset":
			q.Offset, err = number(key, value, 0, 1<<31-1)
		case "limit":
			q.Limit, err = number(key, value, 1, mostPage)
		case "sort":
			q.Sort, q.Descending = strings.CutPrefix(value, "-")
			if _, known := orders[q.Sort]; !known {
				err = fmt.Errorf("sort: unknown field %s; want one of %s, with a - before it for the largest first", printable(q.Sort), strings.Join(SortFields(), ", "))
			}
		case "search":
			if q.Search = value; len(value) > mostSearch {
				err = fmt.Errorf("search has %d bytes; want %d at most", len(value), mostSearch)
			}
		case "state":
			if q.State = value; !slices.Contains(peerStates, value) {
				err = fmt.Errorf("state: unknown word %s; want one of %s", printable(value), strings.Join(peerStates, ", "))
			}
		case "kind":
			if q.Kind = value; !slices.Contains(peerKinds, value) {
				err = fmt.Errorf("kind: unknown word %s; want one of %s", printable(value), strings.Join(peerKinds, ", "))
			}
		default:
			err = fmt.Errorf("unknown parameter %s; want offset, limit, sort, search, state or kind", printable(key))
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

func number(key, text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s is %s; want a number from %d to %d", key, printable(text), least, most)
	}
	return n, nil
}

// printable quotes the begin of a text.
func printable(text string) string {
	const most = 40
	if len(text) > most {
		return strconv.QuoteToASCII(text[:most]) + "…"
	}
	return strconv.QuoteToASCII(text)
}

// An order compares peers by one field.
type order func(a, b *Peer) int

func by[T cmp.Ordered](field func(*Peer) T) order {
	return func(a, b *Peer) int { return cmp.Compare(field(a), field(b)) }
}

func byTime(field func(*Peer) *Time) order {
	return func(a, b *Peer) int {
		var x, y time.Time // never is before all
		if t := field(a); t != nil {
			x = t.Time
		}
		if t := field(b); t != nil {
			y = t.Time
		}
		return x.Compare(y)
	}
}

func byAddress(a, b *Peer) int {
	return cmp.Or(a.Address.Addr().Compare(b.Address.Addr()), cmp.Compare(a.Address.Port(), b.Address.Port()))
}

var orders = map[string]order{
	"address":              byAddress,
	"name":                 by(func(p *Peer) string { return p.Name }),
	"transport":            by(func(p *Peer) string { return p.Transport }),
	"may":                  by(func(p *Peer) string { return p.May }),
	"joined_by":            by(func(p *Peer) string { return p.JoinedBy }),
	"state":                by(func(p *Peer) string { return p.State }),
	"joined":               byTime(func(p *Peer) *Time { return &p.Joined }),
	"heard":                byTime(func(p *Peer) *Time { return p.Heard }),
	"expires":              byTime(func(p *Peer) *Time { return p.Expires }),
	"received":             by(func(p *Peer) uint64 { return p.Received }),
	"received_bytes":       by(func(p *Peer) uint64 { return p.ReceivedBytes }),
	"delivered":            by(func(p *Peer) uint64 { return p.Delivered }),
	"delivered_bytes":      by(func(p *Peer) uint64 { return p.DeliveredBytes }),
	"dropped_total":        by(func(p *Peer) uint64 { return p.DroppedTotal }),
	"received_rate":        by(func(p *Peer) float64 { return p.ReceivedRate }),
	"received_bytes_rate":  by(func(p *Peer) float64 { return p.ReceivedBytesRate }),
	"delivered_rate":       by(func(p *Peer) float64 { return p.DeliveredRate }),
	"delivered_bytes_rate": by(func(p *Peer) float64 { return p.DeliveredBytesRate }),
}

// SortFields returns the fields that peers can be sorted by.
func SortFields() []string {
	fields := make([]string, 0, len(orders))
	for field := range orders {
		fields = append(fields, field)
	}
	slices.Sort(fields)
	return fields
}

// Page returns the page that q asks for of the peers of a source. To look at
// all of them is left out where none is searched or sorted.
func (q Query) Page(source Source) PeerPage {
	if q.Search != "" || q.State != "" || q.Kind != "" || q.Sort != "" {
		all, _ := source.Peers(0, math.MaxInt)
		return q.Select(all)
	}
	list, total := source.Peers(q.Offset, q.Limit)
	page := PeerPage{Total: total, Matched: total, Offset: q.Offset, Peers: []Peer{}}
	for _, p := range list {
		page.Peers = append(page.Peers, *p)
	}
	return page
}

// Select returns the page that q asks for of all peers, which come in the order
// in which they joined. It changes all.
func (q Query) Select(all []*Peer) PeerPage {
	page := PeerPage{Total: len(all), Offset: q.Offset, Peers: []Peer{}}
	search := strings.Replace(strings.ToLower(q.Search), ":*", ":0", 1) // as a sender is shown
	var space [64]byte
	matched := slices.DeleteFunc(all, func(p *Peer) bool {
		switch {
		case q.State != "" && p.State != q.State,
			q.Kind == "static" && !p.Static,
			q.Kind == "learned" && (p.Static || p.Sender),
			q.Kind == "sender" && !p.Sender,
			q.Kind == "connected" && !p.Connected():
			return true
		case search == "":
			return false
		}
		return !contains(p.Address.AppendTo(space[:0]), search) && !strings.Contains(strings.ToLower(p.Name), search)
	})
	page.Matched = len(matched)
	if order := orders[q.Sort]; order != nil {
		slices.SortStableFunc(matched, func(a, b *Peer) int {
			if q.Descending {
				a, b = b, a
			}
			return order(a, b)
		})
	}
	matched = matched[min(q.Offset, len(matched)):]
	for _, p := range matched[:min(q.Limit, len(matched))] {
		page.Peers = append(page.Peers, *p)
	}
	return page
}

func contains(text []byte, part string) bool { return strings.Contains(string(text), part) }

// ParseAddress returns what a person means by text: an address with a port, or,
// with port 0, an address alone or that of a sender, as [AddressText] or the API
// writes it.
func ParseAddress(text string) (netip.AddrPort, error) {
	text = strings.TrimSuffix(text, ":*")
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
	}
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), 0), nil
	}
	return netip.AddrPort{}, fmt.Errorf("%s is no address; want one such as 192.0.2.7:40000, [2001:db8::7]:40000 or 192.0.2.7", printable(text))
}
