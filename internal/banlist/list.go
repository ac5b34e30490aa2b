package banlist

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"udprelay/peers"
)

// MostAhead is how far the time of an entry may be ahead of the clock here.
const MostAhead = 24 * time.Hour

// MaxEntries is how many entries a list has at most: [peers.MaxBans] that hold,
// and as many that were lifted.
const MaxEntries = 2 * peers.MaxBans

// maxExport is how many bytes an export has at most.
const maxExport = MaxEntries * (maxLine + 1)

var (
	// ErrTooMany is returned when [peers.MaxBans] entries hold.
	ErrTooMany = errors.New("the cluster has too many bans: take some away, or ban larger prefixes")

	// ErrNone is returned when no entry holds for a prefix.
	ErrNone = errors.New("there is no ban of the cluster on that prefix")
)

// A List is the list of one node. The zero List is empty. Its methods may be
// called by any goroutine; what they return is the caller's own.
type List struct {
	mu      sync.Mutex
	entries map[netip.Prefix]Entry
	holding int       // entries that are not lifted
	next    time.Time // nothing ends before; zero: nothing ends

	exported []byte // nil: not known
	digest   uint64
}

// Room reports whether there is room for a ban of the prefix.
func (l *List) Room(from netip.Prefix, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	return l.room(from)
}

func (l *List) room(from netip.Prefix) bool {
	before, there := l.entries[from]
	return there && !before.Lifted || l.holding < peers.MaxBans
}

// Set notes that the node of the name by has banned a prefix, which is masked,
// and not of IPv4-mapped addresses, until a time; the zero Time: for ever. It
// takes the place of what there is of the prefix. The error is [ErrTooMany], or
// says what is wrong with the ban.
func (l *List) Set(from netip.Prefix, until time.Time, reason, by string, now time.Time) (Entry, error) {
	e := Entry{From: from, Reason: reason, By: by}
	if !until.IsZero() {
		if !until.After(now) {
			return Entry{}, errors.New("the ban is over already")
		}
		e.Until = roundUp(until)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	if !l.room(from) {
		return Entry{}, ErrTooMany
	}
	return l.decide(e, now)
}

// Lift notes that the node of the name by has ended the ban of a prefix. The
// error may be [ErrNone].
func (l *List) Lift(from netip.Prefix, by string, now time.Time) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	before, there := l.entries[from]
	if !there || before.Lifted {
		return Entry{}, ErrNone
	}
	return l.decide(Entry{From: from, Until: before.Until, By: by, Lifted: true}, now)
}

// decide puts an entry that is decided here and now.
func (l *List) decide(e Entry, now time.Time) (Entry, error) {
	e.At = milliseconds(max(now.UnixMilli(), 1))
	if before, there := l.entries[e.From]; there && !e.At.After(before.At) {
		e.At = before.At.Add(time.Millisecond)
	}
	if err := e.Check(); err != nil {
		return Entry{}, err
	}
	l.put(e)
	l.trim()
	return e, nil
}

// Get returns the entry of a prefix, which may be one that was lifted.
func (l *List) Get(from netip.Prefix, now time.Time) (e Entry, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	e, there = l.entries[from]
	return e, there
}

// Entries returns all entries, those that were lifted too, in the order of their
// prefixes.
func (l *List) Entries(now time.Time) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	return l.sorted()
}

func (l *List) sorted() []Entry {
	list := make([]Entry, 0, len(l.entries))
	for _, e := range l.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, byPrefix)
	return list
}

// Digest returns a number that is the same for lists with the same entries, and
// hardly for others. It is never 0.
func (l *List) Digest(now time.Time) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	l.write()
	return l.digest
}

// Export returns the list as [List.Merge] reads it.
func (l *List) Export(now time.Time) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	l.write()
	return bytes.Clone(l.exported)
}

// write makes the export and its digest, if they are not known.
func (l *List) write() {
	if l.exported != nil {
		return
	}
	b := []byte{}
	for _, e := range l.sorted() {
		b = append(e.Append(b), '\n')
	}
	sum := sha256.Sum256(b)
	l.exported, l.digest = b, max(binary.BigEndian.Uint64(sum[:]), 1)
}

// A Change is an entry that [List.Merge] has taken.
type Change struct {
	Old Entry // of the same prefix; the zero Entry: there was none
	New Entry
}

// Held reports whether a ban of the prefix was known before.
func (c *Change) Held() bool { return c.Old.From.IsValid() && !c.Old.Lifted }

// Merged says what came of a list of another node.
type Merged struct {
	Changes []Change // in the order of their prefixes
	NoRoom  int      // bans that were passed over, for there were too many

	// Entries whose times are more than [MostAhead] ahead of the clock here,
	// which were passed over, and the one that is ahead most.
	Ahead    int
	Farthest Entry
}

// Merge takes what is newer in what another list has exported. If there is an
// error, which says what in it is wrong, nothing was taken.
func (l *List) Merge(p []byte, now time.Time) (Merged, error) {
	list, err := parse(p)
	if err != nil {
		return Merged{}, err
	}
	var m Merged
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	for _, lifted := range []bool{true, false} { // what was lifted makes room
		for _, e := range list {
			if e.Lifted == lifted {
				l.merge(e, now, &m)
			}
		}
	}
	l.trim()
	m.Changes = slices.DeleteFunc(m.Changes, func(c Change) bool { return l.entries[c.New.From] != c.New })
	slices.SortFunc(m.Changes, func(a, b Change) int { return byPrefix(a.New, b.New) })
	return m, nil
}

func (l *List) merge(e Entry, now time.Time, m *Merged) {
	if e.At.Sub(now) > MostAhead {
		if m.Ahead++; e.At.After(m.Farthest.At) {
			m.Farthest = e
		}
		return
	}
	before, taken, room := l.take(e, now)
	switch {
	case !room:
		m.NoRoom++
	case taken:
		m.Changes = append(m.Changes, Change{before, e})
	}
}

// Restore takes entries that this node has had before, whatever its clock says
// of when they were decided, and returns how many it took. Those that are not
// valid or over, or for which there is no room, are passed over.
func (l *List) Restore(list []Entry, now time.Time) (restored int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	for _, e := range list {
		if e.Check() != nil {
			continue
		}
		if _, taken, _ := l.take(e, now); taken {
			restored++
		}
	}
	l.trim()
	return restored
}

// take puts e if it is not over and newer than what there is of its prefix, and
// there is room.
func (l *List) take(e Entry, now time.Time) (before Entry, taken, room bool) {
	before, there := l.entries[e.From]
	if e.over(now) || there && !e.newer(&before) {
		return before, false, true
	}
	if !e.Lifted && !l.room(e.From) {
		return before, false, false
	}
	l.put(e)
	return before, true, true
}

func (l *List) put(e Entry) {
	l.remove(e.From)
	if l.entries == nil {
		l.entries = make(map[netip.Prefix]Entry)
	}
	l.entries[e.From] = e
	if !e.Lifted {
		l.holding++
	}
	if end := e.end(); !end.IsZero() && (l.next.IsZero() || end.Before(l.next)) {
		l.next = end
	}
}

func (l *List) remove(from netip.Prefix) {
	if before, there := l.entries[from]; there && !before.Lifted {
		l.holding--
	}
	delete(l.entries, from)
	l.exported = nil
}

// forget removes the entries whose time is over.
func (l *List) forget(now time.Time) {
	if l.next.IsZero() || now.Before(l.next) {
		return
	}
	l.next = time.Time{}
	for from, e := range l.entries {
		end := e.end()
		switch {
		case e.over(now):
			l.remove(from)
		case !end.IsZero() && (l.next.IsZero() || end.Before(l.next)):
			l.next = end
		}
	}
}

// trim removes those that were lifted first, if there are too many.
func (l *List) trim() {
	most := len(l.entries) - l.holding - peers.MaxBans
	if most <= 0 {
		return
	}
	var lifted []Entry
	for _, e := range l.entries {
		if e.Lifted {
			lifted = append(lifted, e)
		}
	}
	slices.SortFunc(lifted, func(a, b Entry) int { return cmp.Or(a.At.Compare(b.At), byPrefix(a, b)) })
	for _, e := range lifted[:most] {
		l.remove(e.From)
	}
}

// parse reads an export.
func parse(p []byte) (list []Entry, err error) {
	if len(p) > maxExport {
		return nil, fmt.Errorf("the list has %d bytes; want %d at most", len(p), maxExport)
	}
	for line := 1; len(p) > 0; line++ {
		text, rest, ended := bytes.Cut(p, []byte("\n"))
		if !ended {
			return nil, fmt.Errorf("entry %d: it is cut off", line)
		}
		if line > MaxEntries {
			return nil, fmt.Errorf("entry %d: there are too many; want %d at most", line, MaxEntries)
		}
		e, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", line, err)
		}
		if line > 1 && byPrefix(list[len(list)-1], e) >= 0 {
			return nil, fmt.Errorf("entry %d: want prefixes in their order, each once", line)
		}
		list, p = append(list, e), rest
	}
	return list, nil
}
