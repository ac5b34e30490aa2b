package banlist

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"udprelay/peers"
)

// exact compares entries by all that is in them.
var exact = cmpopts.EquateComparable(Entry{})

func (l *List) set(t testing.TB, from string, until time.Time, reason, by string, now time.Time) Entry {
	t.Helper()
	e, err := l.Set(prefix(from), until, reason, by, now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (l *List) lift(t testing.TB, from, by string, now time.Time) Entry {
	t.Helper()
	e, err := l.Lift(prefix(from), by, now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// merge has l take what other has.
func (l *List) takeFrom(t testing.TB, other *List, now time.Time) Merged {
	t.Helper()
	m, err := l.Merge(other.Export(now), now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wantEntries(t testing.TB, l *List, now time.Time, want ...Entry) {
	t.Helper()
	if diff := cmp.Diff(want, l.Entries(now), exact, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestTheLaterActWins(t *testing.T) {
	var north, south List
	hour := began.Add(time.Hour)
	banned := north.set(t, "192.0.2.0/24", hour.Add(1), "loud", "north", began)
	if want := (Entry{From: prefix("192.0.2.0/24"), Until: hour.Add(time.Millisecond), Reason: "loud", By: "north", At: began}); banned != want {
		t.Errorf("want %+v, got %+v", want, banned)
	}
	m := south.takeFrom(t, &north, began)
	if len(m.Changes) != 1 || m.Changes[0] != (Change{New: banned}) || m.Changes[0].Held() || m.NoRoom+m.Ahead != 0 {
		t.Errorf("want the ban new, got %+v", m)
	}
	if m := south.takeFrom(t, &north, began); len(m.Changes) != 0 {
		t.Errorf("want nothing new, got %+v", m)
	}

	// The clock of the south is behind.
	lifted := south.lift(t, "192.0.2.0/24", "south", began.Add(-time.Minute))
	if want := (Entry{From: banned.From, Until: banned.Until, By: "south", At: began.Add(time.Millisecond), Lifted: true}); lifted != want {
		t.Errorf("want %+v, got %+v", want, lifted)
	}
	if m := south.takeFrom(t, &north, began); len(m.Changes) != 0 {
		t.Errorf("want what is older to be passed over, got %+v", m)
	}
	if m := north.takeFrom(t, &south, began); len(m.Changes) != 1 || m.Changes[0] != (Change{banned, lifted}) || !m.Changes[0].Held() {
		t.Errorf("want it lifted, got %+v", m)
	}
	wantEntries(t, &north, began, lifted)

	again := north.set(t, "192.0.2.0/24", time.Time{}, "", "north", began.Add(time.Second))
	if m := south.takeFrom(t, &north, began.Add(time.Second)); len(m.Changes) != 1 || m.Changes[0] != (Change{lifted, again}) || m.Changes[0].Held() {
		t.Errorf("want it banned again, got %+v", m)
	}
	if north.Digest(began) != south.Digest(began) {
		t.Error("want one digest")
	}
}

func TestActsOfOneMillisecondHaveOneOutcome(t *testing.T) {
	var north, south List
	north.set(t, "192.0.2.0/24", time.Time{}, "a", "north", began)
	won := south.set(t, "192.0.2.0/24", time.Time{}, "a", "south", began)
	if m := south.takeFrom(t, &north, began); len(m.Changes) != 0 {
		t.Errorf("want the greater one kept, got %+v", m)
	}
	if m := north.takeFrom(t, &south, began); len(m.Changes) != 1 {
		t.Errorf("want the greater one taken, got %+v", m)
	}
	wantEntries(t, &north, began, won)
	wantEntries(t, &south, began, won)
}

func TestWhatCannotBeDecided(t *testing.T) {
	var l List
	for _, test := range []struct {
		from       netip.Prefix
		until      time.Time
		reason, by string
		want       string
	}{
		{netip.Prefix{}, time.Time{}, "", "n", "from: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, without bits behind it"},
		{prefix("192.0.2.1/24"), time.Time{}, "", "n", "from: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, without bits behind it"},
		{prefix("192.0.2.0/24"), began, "", "n", "the ban is over already"},
		{prefix("192.0.2.0/24"), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "", "n", "until_ms: want milliseconds since 1970, up to the year 9999, or none for a ban without an end"},
		{prefix("192.0.2.0/24"), time.Time{}, "\n", "n", `reason: the character '\n' cannot be shown; want letters, digits, signs and blanks`},
		{prefix("192.0.2.0/24"), time.Time{}, "", "", "by: it has 0 bytes; want the name of a node, of 1 to 64"},
	} {
		if e, err := l.Set(test.from, test.until, test.reason, test.by, began); err == nil || err.Error() != test.want || e != (Entry{}) {
			t.Errorf("want %q, got %+v, %v", test.want, e, err)
		}
	}
	if _, err := l.Lift(prefix("192.0.2.0/24"), "n", began); !errors.Is(err, ErrNone) {
		t.Errorf("want none, got %v", err)
	}
	l.set(t, "192.0.2.0/24", began.Add(time.Hour), "", "n", began)
	if _, err := l.Lift(prefix("192.0.2.0/24"), "n", began.Add(time.Hour)); !errors.Is(err, ErrNone) {
		t.Errorf("want none when its time is over, got %v", err)
	}
	l.set(t, "192.0.2.0/24", time.Time{}, "", "n", began)
	l.lift(t, "192.0.2.0/24", "n", began)
	if _, err := l.Lift(prefix("192.0.2.0/24"), "n", began); !errors.Is(err, ErrNone) {
		t.Errorf("want it lifted once, got %v", err)
	}
}

// many returns the i-th of many prefixes, in their order.
func many(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
}

func full(t testing.TB, by string, first int) *List {
	t.Helper()
	l := new(List)
	for i := range peers.MaxBans {
		if _, err := l.Set(many(first+i), time.Time{}, "", by, began); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestThereAreNotTooMany(t *testing.T) {
	l, other := full(t, "north", 0), full(t, "south", 1) // one is new
	if _, err := l.Set(many(5000), time.Time{}, "", "n", began); !errors.Is(err, ErrTooMany) || l.Room(many(5000), began) {
		t.Errorf("want no room, got %v", err)
	}
	if _, err := l.Set(many(5), time.Time{}, "again", "n", began); err != nil || !l.Room(many(5), began) {
		t.Errorf("want room for another of the same prefix, got %v", err)
	}
	if m := l.takeFrom(t, other, began); m.NoRoom != 1 || len(m.Changes) != peers.MaxBans-2 {
		t.Errorf("want one passed over, and those of the same prefixes taken but for the later one, got %d, %d", m.NoRoom, len(m.Changes))
	}
	// What is lifted with it makes room.
	if _, err := other.Lift(many(7), "south", began.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if m := l.takeFrom(t, other, began.Add(time.Second)); m.NoRoom != 0 || len(m.Changes) != 2 || !m.Changes[0].New.Lifted || m.Changes[1].New.From != many(1000) {
		t.Errorf("want one lifted and the other taken, got %+v", m)
	}

	// Of those that were lifted, the latest.
	for i := range 2 * peers.MaxBans {
		from, now := many(10_000+i), began.Add(time.Duration(i)*time.Second)
		if _, err := other.Set(from, time.Time{}, "", "south", now); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Lift(from, "south", now); err != nil {
			t.Fatal(err)
		}
	}
	list := other.Entries(began)
	if len(list) != 2*peers.MaxBans-1 { // one of those that hold was lifted
		t.Fatalf("want %d entries, got %d", 2*peers.MaxBans-1, len(list))
	}
	for _, e := range list {
		if e.Lifted && e.From.Addr().Less(many(10_000+peers.MaxBans).Addr()) {
			t.Fatalf("want the oldest forgotten, got %+v", e)
		}
	}
	// One that is older than those of a full list is passed over.
	before, stale := other.Digest(began), new(List)
	stale.set(t, "192.0.2.0/24", time.Time{}, "", "east", began)
	stale.lift(t, "192.0.2.0/24", "east", began)
	if m := other.takeFrom(t, stale, began); len(m.Changes) != 0 || other.Digest(began) != before {
		t.Errorf("want nothing changed, got %+v", m)
	}
	var fresh List
	fresh.takeFrom(t, other, began)
	if fresh.Digest(began) != before || len(other.Export(began)) > maxExport {
		t.Error("want all of a full list taken")
	}
}

func TestAClockThatIsFarAheadIsNotBelieved(t *testing.T) {
	var ahead, here List
	ahead.set(t, "192.0.2.0/24", time.Time{}, "", "ahead", began.Add(MostAhead+time.Millisecond))
	far := ahead.set(t, "192.0.2.9/32", time.Time{}, "", "farther", began.Add(100*MostAhead))
	ok := ahead.set(t, "198.51.100.0/24", time.Time{}, "", "ahead", began.Add(MostAhead))
	m := here.takeFrom(t, &ahead, began)
	if m.Ahead != 2 || m.Farthest != far || len(m.Changes) != 1 || m.Changes[0].New != ok {
		t.Errorf("want two passed over, got %+v", m)
	}
	wantEntries(t, &here, began, ok)
	// What it has had before it takes, though its own clock may be behind.
	if n := here.Restore(ahead.Entries(began), began); n != 2 || here.Digest(began) != ahead.Digest(began) {
		t.Errorf("want the others restored, got %d", n)
	}
	if n := here.Restore([]Entry{{From: prefix("10.0.0.0/8"), At: began}, {}}, began); n != 0 {
		t.Errorf("want what is not valid to be passed over, got %d", n)
	}
}

func TestNothingIsTakenOfAListThatIsWrong(t *testing.T) {
	var l List
	good := l.set(t, "192.0.2.0/24", time.Time{}, "", "north", began)
	line := string(good.Append(nil)) + "\n"
	other := strings.Replace(line, "192", "193", 1)
	for text, want := range map[string]string{
		"x\n":                 `entry 1: "x" is no entry; want a JSON object`,
		"\n":                  `entry 1: nothing is no entry; want a JSON object`,
		line[:len(line)-1]:    "entry 1: it is cut off",
		line + other + "\n":   `entry 3: nothing is no entry; want a JSON object`,
		line + line:           "entry 2: want prefixes in their order, each once",
		other + line:          "entry 2: want prefixes in their order, each once",
		line + other + line:   "entry 3: want prefixes in their order, each once",
		line + other + "tail": "entry 3: it is cut off",
		strings.Repeat(line, maxExport/len(line)+1): "the list has 2050014 bytes; want 2050000 at most",
	} {
		var fresh List
		m, err := fresh.Merge([]byte(text), began)
		if err == nil || err.Error() != want || len(m.Changes) != 0 {
			t.Errorf("%.100q: want %q, got %v, %+v", text, want, err, m)
		}
		wantEntries(t, &fresh, began)
	}
	tooMany := new(strings.Builder)
	for i := range MaxEntries + 1 {
		tooMany.Write((&Entry{From: many(i), At: began, By: "n"}).Append(nil))
		tooMany.WriteByte('\n')
	}
	if _, err := l.Merge([]byte(tooMany.String()), began); err == nil || err.Error() != "entry 2001: there are too many; want 2000 at most" {
		t.Errorf("want too many, got %v", err)
	}
}

// What is asked for and what is changed come from several goroutines.
func TestSeveralGoroutinesUseAList(t *testing.T) {
	var north, south List
	var working sync.WaitGroup
	for i, l := range []*List{&north, &south} {
		other := []*List{&south, &north}[i]
		for worker := range 2 {
			working.Go(func() {
				for n := range 50 {
					from := many(n % 7)
					if _, err := l.Set(from, began.Add(time.Hour), "", "n", began); err != nil {
						t.Error(err)
					}
					if worker == 0 {
						_, _ = l.Lift(from, "n", began)
					}
					if _, err := other.Merge(l.Export(began), began); err != nil {
						t.Error(err)
					}
					l.Digest(began)
				}
			})
		}
	}
	working.Wait()
	north.takeFrom(t, &south, began)
	south.takeFrom(t, &north, began)
	if north.Digest(began) != south.Digest(began) {
		t.Error("want the same on both")
	}
	if diff := cmp.Diff(north.Entries(began), south.Entries(began), exact); diff != "" || len(north.Entries(began)) != 7 {
		t.Errorf("want the same seven on both, got\n%s", diff)
	}
}
