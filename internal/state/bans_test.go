package state

import (
	"math"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/banlist"
	"udprelay/peers"
)

// manyBans returns a snapshot of as many bans as there can be, of all kinds.
func manyBans(now time.Time) *Snapshot {
	s := &Snapshot{Clean: true}
	reasons := []string{"", "too loud", "\"quoted\"\\\n\x00%", "zu läut: \xff\xfe", strings.Repeat("\xff", peers.MaxReason)}
	for i := range peers.MaxBans {
		ip := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		if i%2 == 1 {
			ip = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		}
		b := Ban{From: netip.PrefixFrom(ip, ip.BitLen()), Since: now.Add(-time.Duration(i) * time.Minute), Reason: reasons[i%len(reasons)], Shared: i%7 == 0}
		if i%3 > 0 {
			b.Until = now.Add(time.Duration(i) * time.Hour)
		}
		s.Bans = append(s.Bans, b)
	}
	return s
}

// loadedLater saves s and loads it when d has passed.
func loadedLater(t *testing.T, s *Snapshot, d time.Duration) *Snapshot {
	t.Helper()
	loaded, damaged := parse(encoded(t, s, savedAt), savedAt.later(d))
	if damaged != nil {
		t.Fatal(damaged)
	}
	return loaded
}

func TestBansAreAsIfTheDaemonHadNeverBeenAway(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, away := range []time.Duration{0, 1500 * time.Millisecond, 50 * time.Minute, 17 * time.Hour, 400 * 24 * time.Hour} {
			s := manyBans(savedAt.wall)
			s.Clean, s.Every = clean, time.Hour
			want := &Snapshot{Clean: clean, Every: time.Hour, Peers: []Peer{}}
			for _, b := range s.Bans {
				if b.Until.IsZero() || b.Until.After(savedAt.wall.Add(away)) {
					want.Bans = append(want.Bans, b)
				}
			}
			got := loadedLater(t, s, away)
			if got.Peers == nil {
				got.Peers = []Peer{}
			}
			if away > 17*time.Hour && len(got.Bans) >= len(s.Bans) || len(got.Bans) == 0 {
				t.Errorf("away for %v: want some bans, and those over gone; got %d of %d", away, len(got.Bans), len(s.Bans))
			}
			wantSame(t, want, got)
		}
	}
}

func TestSavesMakeNoBanShorter(t *testing.T) {
	until := func(d time.Duration) *Snapshot {
		return &Snapshot{Bans: []Ban{{From: shown.Bans[0].From, Since: savedAt.wall, Until: savedAt.wall.Add(d)}}}
	}
	const ms = time.Millisecond
	for _, test := range []struct {
		left, away, want time.Duration // of the ban, at the load; 0: there is none
	}{
		{time.Hour, 50 * time.Minute, 10 * time.Minute},
		{time.Hour, time.Hour - ms, ms},
		{time.Hour, time.Hour, 0},
		{time.Hour, 2 * time.Hour, 0},
		{time.Hour + 1, 0, time.Hour + ms},
		{time.Hour + ms - 1, 0, time.Hour + ms},
		{time.Hour, 1, time.Hour}, // away for whole milliseconds
		{1, 0, ms},
		{1, ms, 0},
		{0, 0, ms}, // over since the snapshot was taken
		{-time.Hour, 0, ms},
		{-time.Hour, ms, 0},
		{150 * 365 * 24 * time.Hour, time.Hour, 150*365*24*time.Hour - time.Hour},
		{math.MaxInt64, 0, maxLeft},
		{math.MaxInt64, time.Second, maxLeft - time.Second},
	} {
		got := loadedLater(t, until(test.left), test.away).Bans
		switch {
		case test.want == 0 && len(got) > 0:
			t.Errorf("%v left, away for %v: want it to be over, got %v", test.left, test.away, got)
		case test.want > 0 && (len(got) != 1 || got[0].Until.Sub(savedAt.wall.Add(test.away)) != test.want):
			t.Errorf("%v left, away for %v: want %v left, got %v", test.left, test.away, test.want, got)
		}
	}
}

// The machine was restarted and its clock is wrong: what is known is that it was
// away for as long as it is up.
func TestAWrongClockMakesNoBanShorter(t *testing.T) {
	now := moment{savedAt.wall.Add(-1000 * time.Hour), "11111111-0d57-4f0c-9d8e-3b7a1f2c4d5e", time.Minute}
	s, damaged := parse(encoded(t, shown, savedAt), now)
	if damaged != nil || s.SameBoot {
		t.Fatalf("want another start of the machine, got %v", damaged)
	}
	if len(s.Bans) != 2 || s.Bans[0].Until.Sub(now.wall) != 9*time.Minute || !s.Bans[1].Until.IsZero() {
		t.Errorf("want 9 of 10 minutes left, and for ever, got %v", s.Bans)
	}
}

func TestBansThatCannotBeLoadedAreNotSaved(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	for want, b := range map[string]Ban{
		"ban of invalid Prefix: the prefix is not valid":                                         {},
		"ban of 192.0.2.1/24: only the bits of the prefix may be set in its address":             {From: netip.MustParsePrefix("192.0.2.1/24")},
		"ban of ::ffff:192.0.2.0/120: a prefix of IPv4 addresses is written as one, not as IPv6": {From: netip.MustParsePrefix("::ffff:192.0.2.0/120")},
		"ban of 192.0.2.0/24: the reason has 257 bytes: want 256 at most":                        {From: netip.MustParsePrefix("192.0.2.0/24"), Reason: strings.Repeat("x", peers.MaxReason+1)},
		"ban of ::ffff:0.0.0.0/90: a prefix of IPv4 addresses is written as one, not as IPv6":    {From: netip.PrefixFrom(netip.MustParseAddr("::ffff:0:0"), 90)},
		"ban of ::/1: the reason has 300 bytes: want 256 at most":                                {From: netip.MustParsePrefix("::/1"), Reason: strings.Repeat("é", 150)},
		"ban of 2001:db8::1/64: only the bits of the prefix may be set in its address":           {From: netip.MustParsePrefix("2001:db8::1/64"), Reason: "x"},
		"ban of 0.0.0.1/0: only the bits of the prefix may be set in its address":                {From: netip.MustParsePrefix("0.0.0.1/0")},
	} {
		wantError(t, Save(name, &Snapshot{Bans: []Ban{b}}, time.Now(), false), "save peers to "+name+": "+want, "")
	}
	wantError(t, Save(name, &Snapshot{Bans: make([]Ban, peers.MaxBans+1)}, time.Now(), false),
		"save peers to "+name+": there are 1001 bans, and a file holds 1000 at most", "")
	wantError(t, Save(name, &Snapshot{Shared: make([]banlist.Entry, banlist.MaxEntries+1)}, time.Now(), false),
		"save peers to "+name+": there are 2001 bans of the cluster, and a file holds 2000 at most", "")
	wantError(t, Save(name, &Snapshot{Shared: []banlist.Entry{{From: netip.MustParsePrefix("192.0.2.0/24"), At: savedAt.wall}}}, time.Now(), false),
		"save peers to "+name+": ban of the cluster, of 192.0.2.0/24: by: it has 0 bytes; want the name of a node, of 1 to 64", "")
	wantFiles(t, filepath.Dir(name))
}

func TestTheLongestBanIsLoaded(t *testing.T) {
	widest := netip.PrefixFrom(netip.MustParseAddr("1111:1111:1111:1111:1111:1111:1111:1111"), 128)
	s := &Snapshot{Bans: []Ban{{From: widest, Until: savedAt.wall.Add(math.MaxInt64), Reason: strings.Repeat("\xff", peers.MaxReason)}}}
	got := loadedLater(t, s, 0).Bans
	want := Ban{From: widest, Since: savedAt.wall.Add(-maxAge), Until: savedAt.wall.Add(maxLeft), Reason: s.Bans[0].Reason}
	if len(got) != 1 || got[0] != want {
		t.Errorf("want %v, got %v", want, got)
	}
}

// manyShared returns a snapshot of as many entries of the cluster as there can be.
func manyShared(now time.Time) *Snapshot {
	s := &Snapshot{Clean: true, Peers: []Peer{}}
	for i := range banlist.MaxEntries {
		ip := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		e := banlist.Entry{From: netip.PrefixFrom(ip, 32), At: now.Add(time.Duration(i-100) * time.Hour).UTC().Truncate(time.Millisecond), By: strings.Repeat(`"`, banlist.MaxName)}
		if e.Lifted = i%2 == 1; !e.Lifted {
			e.Reason = strings.Repeat(`\`, peers.MaxReason)
		}
		if i%3 > 0 {
			e.Until = e.At.Add(time.Duration(i) * time.Hour)
		}
		s.Shared = append(s.Shared, e)
	}
	return s
}

// Their times are those of all machines, whatever the clocks of this one say.
func TestWhatTheClusterHasIsLoadedAsItWas(t *testing.T) {
	for _, away := range []time.Duration{0, time.Hour, 400 * 24 * time.Hour} {
		s := manyShared(savedAt.wall)
		wantSame(t, s, loadedLater(t, s, away))
	}
	s := manyShared(savedAt.wall)
	file := encoded(t, s, savedAt)
	got, damaged := parse(file, moment{savedAt.wall.Add(-1000 * time.Hour), "11111111-0d57-4f0c-9d8e-3b7a1f2c4d5e", time.Minute})
	if damaged != nil {
		t.Fatal(damaged)
	}
	wantSame(t, s, got)
}

// An old file, and one of a relay that was never in a cluster, say nothing
// of it.
func TestAFileOfOneRelayAloneIsAsBefore(t *testing.T) {
	file := string(encoded(t, &Snapshot{Bans: shown.Bans[:1]}, savedAt))
	if strings.Contains(file, "shared") || !strings.Contains(file, `"bans":1,"crc32c":"`) {
		t.Errorf("want nothing of a cluster, got %s", file)
	}
	got, damaged := parse([]byte(file), savedAt)
	if damaged != nil || len(got.Bans) != 1 || got.Bans[0].Shared || got.Shared != nil {
		t.Errorf("want the ban alone, got %+v, %v", got, damaged)
	}
}

func TestASaverSaysWhetherItFails(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "there")
	r := newRunning(filepath.Join(directory, "peers"))
	if r.Trouble() != nil {
		t.Error("want nothing failing before the first save")
	}
	if err := r.Save(false); err == nil || r.Trouble() == nil {
		t.Errorf("want it failing, got %v, %v", err, r.Trouble())
	}
	r.Name = filepath.Join(filepath.Dir(directory), "peers")
	if err := r.Save(false); err != nil || r.Trouble() != nil {
		t.Errorf("want nothing failing, got %v, %v", err, r.Trouble())
	}
}
