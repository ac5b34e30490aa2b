package state

import (
	"encoding/hex"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testneed"
	"udprelay/peers"
)

func TestTheFileIsAsTheDocumentationShowsIt(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder // the lines between the folds
	for line := range strings.SplitSeq(string(source), "\n") {
		text, found := strings.CutPrefix(line, "//\t")
		switch {
		case !found:
			continue
		case strings.HasPrefix(text, "{") && want.Len() > 0:
			want.WriteByte('\n')
		case !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, " "):
			continue
		case strings.HasPrefix(strings.TrimSpace(text), "["):
			continue
		}
		want.WriteString(strings.TrimSpace(text))
	}
	if got := string(encoded(t, shown, savedAt)); got != want.String()+"\n" {
		t.Fatalf("want what doc.go shows:\n%s\ngot\n%s", want.String(), got)
	}
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	now := time.Now()
	for _, clean := range []bool{false, true} {
		saved := manyPeers(1000, now)
		saved.Clean = clean
		saved.Peers[7].Source, saved.Peers[7].Link = netip.MustParseAddr("fe80::1"), math.MaxUint32
		saved.Peers[8].Source = netip.Addr{}
		saved.Peers[9].Addr = netip.MustParseAddrPort(`[fe80::9%e"t\h:0]%é]:9`)
		for _, sync := range []bool{false, true} {
			if err := Save(name, saved, now, sync); err != nil {
				t.Fatal(err)
			}
			loaded, err := Load(name, now)
			if err != nil {
				t.Fatal(err)
			}
			if loaded.Away < 0 || loaded.Away > time.Minute || loaded.SameBoot != (runtime.GOOS == "linux") || now.Sub(loaded.Saved).Abs() > time.Millisecond {
				t.Fatalf("want away for a moment, at the same start of the machine, got %v, %v, saved %v", loaded.Away, loaded.SameBoot, loaded.Saved)
			}
			// Load is a little later by the clock of the machine's start.
			for i := range saved.Peers {
				p := &loaded.Peers[i]
				p.Joined = p.Joined.Add(loaded.Away)
				p.Heard = p.Heard.Add(loaded.Away)
				if !clean {
					p.Heard = p.Heard.Add(-min(loaded.Away, saved.Every))
				}
			}
			wantSame(t, saved, loaded)
		}
		wantFiles(t, filepath.Dir(name), "peers")
	}
}

func TestOnlyTheOwnerMayReadTheFile(t *testing.T) {
	testneed.True(t, runtime.GOOS != "windows", "modes of files")
	name := filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Save(name, shown, time.Now(), false); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Fatalf("want mode 0600, got %v, %v", info.Mode(), err)
	}
}

func TestNoFileIsAnEmptySnapshot(t *testing.T) {
	s, err := Load(filepath.Join(t.TempDir(), "nothing", "peers"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, new(Snapshot), s)
	if !s.Saved.IsZero() {
		t.Fatalf("want no time of a save, got %v", s.Saved)
	}
}

func TestTimeAway(t *testing.T) {
	const id, other = "5c0b6a2e-0d57-4f0c-9d8e-3b7a1f2c4d5e", "11111111-0d57-4f0c-9d8e-3b7a1f2c4d5e"
	const hour = time.Hour
	start := savedAt.wall
	for what, test := range map[string]struct {
		saved, now moment
		want       time.Duration
		sameBoot   bool
	}{
		"no step":                             {moment{start, id, hour}, moment{start.Add(5000 * time.Millisecond), id, hour + 5*time.Second}, 5 * time.Second, true},
		"the wall clock stepped forth":        {moment{start, id, hour}, moment{start.Add(1000 * hour), id, hour + 5*time.Second}, 5 * time.Second, true},
		"the wall clock stepped back":         {moment{start, id, hour}, moment{start.Add(-1000 * hour), id, hour + 5*time.Second}, 5 * time.Second, true},
		"restarted":                           {moment{start, id, hour}, moment{start.Add(3 * hour), other, 2 * hour}, 3 * hour, false},
		"restarted, up for less":              {moment{start, id, 9 * hour}, moment{start.Add(3 * hour), other, 2 * hour}, 3 * hour, false},
		"restarted, wall clock back":          {moment{start, id, hour}, moment{start.Add(-hour), other, time.Minute}, time.Minute, false},
		"restarted, perhaps, up for less":     {moment{start, "", hour}, moment{start.Add(hour), "", time.Minute}, hour, false},
		"restarted, perhaps, up for longer":   {moment{start, "", hour}, moment{start.Add(9 * hour), "", 2 * hour}, hour, false},
		"started, once unknown":               {moment{start, id, hour}, moment{start.Add(9 * hour), "", 2 * hour}, hour, false},
		"the other clock went back":           {moment{start, id, 9 * hour}, moment{start.Add(3 * hour), id, 2 * hour}, 3 * hour, true},
		"only the wall clock":                 {moment{start, "", 0}, moment{start.Add(5 * time.Second), "", 0}, 5 * time.Second, false},
		"only the wall clock, back":           {moment{start, "", 0}, moment{start.Add(-5 * time.Second), "", 0}, 0, false},
		"saved where there was only that":     {moment{start, "", 0}, moment{start.Add(5 * time.Second), id, 2 * hour}, 5 * time.Second, false},
		"whole milliseconds":                  {moment{start, id, hour}, moment{start, id, hour + 1999*time.Microsecond}, time.Millisecond, true},
		"longer than a time.Duration":         {moment{time.Time{}, "", 0}, moment{start, "", 0}, maxAge, false},
		"as long before as no time.Duration":  {moment{start, "", 0}, moment{time.Time{}, "", 0}, 0, false},
		"up for longer than anything ever is": {moment{start, id, 1}, moment{start, id, math.MaxInt64}, maxAge, true},
	} {
		if got, same := away(test.saved, test.now); got != test.want || same != test.sameBoot {
			t.Errorf("%s: want %v, same start %v; got %v, %v", what, test.want, test.sameBoot, got, same)
		}
	}
}

func TestStepsOfTheWallClockChangeNoAge(t *testing.T) {
	testneed.Linux(t) // elsewhere there is only the wall clock
	name := filepath.Join(t.TempDir(), "peers")
	now := time.Now()
	saved := &Snapshot{Clean: true, Peers: []Peer{{Addr: shown.Peers[0].Addr, Joined: now.Add(-time.Hour), Heard: now.Add(-time.Second)}}}
	for _, step := range []time.Duration{-1000 * time.Hour, 1000 * time.Hour} {
		if err := Save(name, saved, now, false); err != nil {
			t.Fatal(err)
		}
		stepped := now.Round(0).Add(step)
		s, err := Load(name, stepped)
		if err != nil {
			t.Fatal(err)
		}
		if age := stepped.Sub(s.Peers[0].Heard); age != time.Second+s.Away || s.Away > time.Minute {
			t.Fatalf("wall clock stepped by %v: want heard 1s ago and the moment since, %v; got %v", step, s.Away, age)
		}
	}
}

func TestPeersMayHaveBeenHeardBeforeACrash(t *testing.T) {
	for _, test := range []struct {
		away         time.Duration
		clean        bool
		joined, ages time.Duration // of the second peer of shown
	}{
		{0, false, 900 * time.Millisecond, 900 * time.Millisecond},
		{4 * time.Second, true, 4900 * time.Millisecond, 4900 * time.Millisecond},
		{4 * time.Second, false, 4900 * time.Millisecond, 900 * time.Millisecond},
		{10 * time.Second, false, 10900 * time.Millisecond, 900 * time.Millisecond},
		{15 * time.Second, false, 15900 * time.Millisecond, 5900 * time.Millisecond},
	} {
		saved := *shown
		saved.Clean = test.clean
		now := savedAt.later(test.away)
		s, damaged := parse(encoded(t, &saved, savedAt), now)
		if damaged != nil {
			t.Fatal(damaged)
		}
		joined, heard := now.wall.Sub(s.Peers[1].Joined), now.wall.Sub(s.Peers[1].Heard)
		if joined != test.joined || heard != test.ages || s.Away != test.away {
			t.Errorf("away for %v, clean %v: want joined %v and heard %v ago, got %v and %v (away %v)", test.away, test.clean, test.joined, test.ages, joined, heard, s.Away)
		}
	}
}

func TestTheLongestLineIsLoaded(t *testing.T) {
	widest := netip.MustParseAddr("1111:1111:1111:1111:1111:1111:1111:1111").WithZone(strings.Repeat("\xff", maxZone/3))
	s := &Snapshot{
		Secret: Fingerprint([]byte("secret")), Every: maxAge, Listen: netip.AddrPortFrom(widest, 65535),
		Socket: math.MaxUint64, KernelDrops: math.MaxUint32,
		Peers: []Peer{{Addr: netip.AddrPortFrom(widest, 65535), Source: widest, Link: math.MaxUint32, Proof: peers.JoinSecret}},
	}
	at := moment{savedAt.wall, savedAt.boot, math.MaxInt64}
	got, damaged := parse(encoded(t, s, at), at)
	if damaged != nil {
		t.Fatal(damaged)
	}
	s.Peers[0].Joined, s.Peers[0].Heard = at.wall.Add(-maxAge), at.wall.Add(-maxAge)
	wantSame(t, s, got)
}

func TestTimesThatCannotBeAreSavedAsTheNearestThatCan(t *testing.T) {
	now := savedAt.wall
	s := &Snapshot{Clean: true, Every: -time.Hour, KernelDrops: 5, Peers: []Peer{ // of no socket, there are no drops
		{Addr: shown.Peers[0].Addr, Joined: now.Add(time.Hour), Heard: now.Add(time.Hour)},
		{Addr: shown.Peers[0].Addr, Joined: now, Heard: now.Add(-time.Hour)},
		{Addr: shown.Peers[0].Addr},
	}}
	got, damaged := parse(encoded(t, s, savedAt), savedAt)
	if damaged != nil {
		t.Fatal(damaged)
	}
	want := &Snapshot{Clean: true, Peers: []Peer{
		{Addr: shown.Peers[0].Addr, Joined: now, Heard: now},
		{Addr: shown.Peers[0].Addr, Joined: now.Add(-time.Hour), Heard: now.Add(-time.Hour)},
		{Addr: shown.Peers[0].Addr, Joined: now.Add(-maxAge), Heard: now.Add(-maxAge)},
	}}
	wantSame(t, want, got)

	for every, want := range map[time.Duration]time.Duration{math.MaxInt64: maxAge, 1: time.Millisecond, time.Second: time.Second} {
		got, damaged := parse(encoded(t, &Snapshot{Every: every}, savedAt), savedAt)
		if damaged != nil || got.Every != want {
			t.Errorf("every %v: want %v, got %v, %v", every, want, got.Every, damaged)
		}
	}
}

func TestWhatCannotBeLoadedIsNotSaved(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	if err := Save(name, shown, time.Now(), false); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(name)
	peer := func(addr, source string, proof peers.Join) *Snapshot {
		p := Peer{Addr: netip.MustParseAddrPort(addr), Proof: proof}
		if source != "" {
			p.Source = netip.MustParseAddr(source)
		}
		return &Snapshot{Peers: []Peer{p}}
	}
	long := strings.Repeat("x", maxZone+1)
	for _, test := range []struct {
		s          *Snapshot
		want, hint string
	}{
		{peer("192.0.2.1:0", "", 0), "peer 192.0.2.1:0: no peer can have this address", ""},
		{peer("[::%3]:7", "", 0), "peer [::%3]:7: no peer can have this address", ""},
		{peer("224.0.0.1:7", "", 0), "peer 224.0.0.1:7: no peer can have this address", ""},
		{peer("255.255.255.255:7", "", 0), "peer 255.255.255.255:7: no peer can have this address", ""},
		{&Snapshot{Peers: make([]Peer, 1)}, "peer invalid AddrPort: no peer can have this address", ""},
		{peer("[::ffff:192.0.2.1]:7", "", 0), "peer [::ffff:192.0.2.1]:7: an IPv4 address is written as one, not as IPv6", ""},
		{peer("192.0.2.1:7", "0.0.0.0", 0), `peer 192.0.2.1:7: source "0.0.0.0": no datagram leaves from this address`, ""},
		{peer("192.0.2.1:7", "::ffff:192.0.2.1", 0), `peer 192.0.2.1:7: source "::ffff:192.0.2.1": an IPv4 address is written as one, not as IPv6`, ""},
		{peer("192.0.2.1:7", "", 3), "peer 192.0.2.1:7: Join(3) is no proof", ""},
		{peer("[fe80::1%"+long+"]:7", "", 0), "peer [fe80::1%" + long + "]:7: the zone has more than 128 bytes", ""},
		{peer("192.0.2.1:7", "fe80::1%"+long, 0), `peer 192.0.2.1:7: source "fe80::1%` + long[:52] + `"…: the zone has more than 128 bytes`, ""},
		{&Snapshot{Secret: "sesame"}, "the fingerprint of the secret is not one of Fingerprint", ""},
		{&Snapshot{Listen: netip.MustParseAddrPort("[fe80::1%" + long + "]:7")}, "listen [fe80::1%" + long + "]:7: the zone has more than 128 bytes", ""},
		{&Snapshot{Peers: make([]Peer, MaxPeers+1)}, "there are 1000001 peers, and a file holds 1000000 at most", "set peers.max to 1000000 at most"},
	} {
		wantError(t, Save(name, test.s, time.Now(), false), "save peers to "+name+": "+test.want, test.hint)
	}
	year := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	wantError(t, Save(name, shown, year, false), "save peers to "+name+": the clock says that this is the year 10000", "")
	wantFile(t, name, before)
	wantFiles(t, filepath.Dir(name), "peers")
}

func TestSecret(t *testing.T) {
	secret := []byte("one that is long and random")
	of := Fingerprint(secret)
	if !isFingerprint(of) || of == Fingerprint(secret) || strings.Contains(of, string(secret)) {
		t.Fatalf("want another fingerprint each time, got %q", of)
	}
	salt := make([]byte, saltSize)
	ofNothing := hex.EncodeToString(salt) + ":" + hex.EncodeToString(fingerprint(salt, nil))
	for _, test := range []struct {
		of     string
		secret string
		same   bool
	}{
		{of, string(secret), true}, {of, "another", false}, {of, "", false}, {"", string(secret), false}, {"", "", false}, {ofNothing, "", false},
		{of[:len(of)-1], string(secret), false}, {strings.ToUpper(of), string(secret), false},
	} {
		if same := SameSecret(test.of, []byte(test.secret)); same != test.same {
			t.Errorf("SameSecret(%q, %q): want %v, got %v", test.of, test.secret, test.same, same)
		}
		s := &Snapshot{Secret: test.of, Peers: []Peer{{Proof: peers.JoinOpen}, {Proof: peers.JoinSecret}, {Proof: peers.JoinCookie}, {Proof: peers.JoinSecret}}}
		wantN, wantProof := 2, peers.JoinCookie
		if test.same {
			wantN, wantProof = 0, peers.JoinSecret
		}
		n := s.TrustSecret([]byte(test.secret))
		got := []peers.Join{s.Peers[0].Proof, s.Peers[1].Proof, s.Peers[2].Proof, s.Peers[3].Proof}
		if n != wantN || got[0] != peers.JoinOpen || got[1] != wantProof || got[2] != peers.JoinCookie || got[3] != wantProof {
			t.Errorf("TrustSecret(%q) of %q: want %d and %v, got %d and %v", test.secret, test.of, wantN, wantProof, n, got)
		}
	}
	if got := Fingerprint(nil); got != "" {
		t.Errorf("want no fingerprint of no secret, got %q", got)
	}
}
