package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/state"
	"udprelay/internal/testwait"
)

// awaitSaved waits until the state file has so many bans, and returns what is in
// it.
func awaitSaved(t *testing.T, directory string, bans int) *state.Snapshot {
	t.Helper()
	var saved *state.Snapshot
	var err error
	testwait.Until(t, func() bool {
		saved, err = state.Load(filepath.Join(directory, stateName), time.Now())
		return err == nil && len(saved.Bans) == bans
	}, func() string { return fmt.Sprintf("want %d bans saved, got %+v, %v", bans, saved, err) })
	return saved
}

// wantSameBans checks that bans are as before, with the same times to a second.
func wantSameBans(t *testing.T, want, got []admin.Ban) {
	t.Helper()
	near := func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Second }
	same := len(want) == len(got)
	for i := 0; same && i < len(want); i++ {
		w, g := want[i], got[i]
		same = w.From == g.From && w.Reason == g.Reason && near(w.Since.Time, g.Since.Time) && (w.Until == nil) == (g.Until == nil) &&
			(w.Until == nil || near(w.Until.Time, g.Until.Time) && !g.Until.Before(w.Until.Add(-time.Millisecond))) // it is told in whole ones
	}
	if !same {
		t.Fatalf("want the bans %+v, got %+v", want, got)
	}
}

func TestBansOutliveARestartAndACrash(t *testing.T) {
	directory := shortDirectory(t)
	first := startControlled(t, directory)
	listener, loud := enter(t, "127.0.0.2", first.relay), enter(t, "127.0.0.4", first.relay)
	loud.say(t, "before")
	listener.hears(t, "before")
	first.ban(t, "127.0.0.4", time.Hour, `"zu läut" \ 100 %`)
	first.ban(t, "2001:db8::1/32", 0, "")
	bans := first.bans(t)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if saved := awaitSaved(t, directory, 2); !saved.Clean || len(saved.Peers) != 1 {
		t.Errorf("want the peer that is not banned, of an orderly stop, got %+v", saved)
	}

	refuses := func(d *controlled, bans []admin.Ban, learned int) {
		t.Helper()
		wantSameBans(t, bans, d.bans(t))
		enter(t, "127.0.0.4", d.relay).say(t, "I want in")
		enter(t, "127.0.0.3", d.relay).say(t, "I may")
		d.awaitStatus(t, fmt.Sprintf("two datagrams of one that is banned, and %d peers", learned), func(s admin.Status) bool {
			return s.Drops["banned"] == 2 && s.Counters.Relayed == 1 && s.Peers.Learned == learned
		})
	}
	address := keyed("listen", first.relay.String())
	second := startControlled(t, directory, address)
	second.await(t, `level=INFO msg="bans are back" count=2`)
	refuses(second, bans, 2) // with the listener
	listener.hears(t, "I may")

	// A crash leaves what was saved last.
	second.ban(t, "127.0.0.9", time.Hour, "meanwhile")
	if banned := second.ban(t, "127.0.0.4", 2*time.Hour, "again"); !banned.Kept {
		t.Errorf("want it kept, got %+v", banned)
	}
	second.unban(t, "2001:db8::/32")
	second.ban(t, "198.51.100.0/24", 0, "")
	bans = second.bans(t)
	awaitFile(t, filepath.Join(directory, stateName), `{"ban":"198.51.100.0/24"`)
	content, err := os.ReadFile(filepath.Join(directory, stateName))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	crashed := shortDirectory(t)
	if err := os.WriteFile(filepath.Join(crashed, stateName), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if saved := awaitSaved(t, crashed, 3); saved.Clean {
		t.Error("want the file of a relay that runs")
	}
	third := startControlled(t, crashed, address)
	third.await(t, `level=INFO msg="bans are back" count=3`)
	refuses(third, bans, 3) // with the previous speaker, too
}

// Without peers that come or go with them.
func TestEachBanAndItsEndIsSavedAtOnce(t *testing.T) {
	d := unrun(t)
	d.places.state = filepath.Join(t.TempDir(), stateName)
	d.noteNames(nil)
	saver := d.restore(new(state.Snapshot))
	before := saver.Changed()
	wantChange := func(what string, change bool) {
		t.Helper()
		now := saver.Changed()
		if (now != before) != change {
			t.Errorf("%s: want it saved at once: %v; got %d after %d", what, change, now, before)
		}
		before = now
	}
	if _, err := d.Ban(t.Context(), admin.BanWish{From: prefix("192.0.2.0/24"), Duration: time.Hour, Reason: "a"}); err != nil {
		t.Fatal(err)
	}
	wantChange("a ban", true)
	if _, err := d.Ban(t.Context(), admin.BanWish{From: prefix("192.0.2.0/24"), Reason: "b"}); err != nil {
		t.Fatal(err)
	}
	wantChange("another of the same prefix", true)
	if got := saver.Collect().Bans; len(got) != 1 || got[0].From != prefix("192.0.2.0/24") || got[0].Reason != "b" || !got[0].Until.IsZero() {
		t.Errorf("want what holds to be saved, got %+v", got)
	}
	if _, err := d.Unban(t.Context(), prefix("192.0.2.0/24"), false); err != nil {
		t.Fatal(err)
	}
	wantChange("its end", true)
	if got := saver.Collect().Bans; len(got) != 0 {
		t.Errorf("want no bans saved, got %+v", got)
	}
	if _, err := d.Unban(t.Context(), prefix("192.0.2.0/24"), false); err == nil {
		t.Error("want no ban to be there")
	}
	wantChange("nothing", false)
}

func TestABanIsKeptOnlyIfTheStateFileIsInUse(t *testing.T) {
	for what, test := range map[string]struct {
		file, log string
	}{
		"there is none":      {"", `msg=listening`},
		"it cannot be saved": {"missing/peers", `msg="peers are not saved"`},
		"nobody can read it": {".", `not_set_aside=`},
	} {
		directory := shortDirectory(t)
		settings := []config.Setting{keyed("admin.socket", filepath.Join(directory, controlName))}
		if test.file != "" {
			settings = append(settings, keyed("state.file", filepath.Join(directory, test.file)))
		}
		r := start(t, surroundings{}, settings...)
		d := controlled{r, admin.Client{Socket: filepath.Join(directory, controlName)}, r.addr(t)}
		d.await(t, test.log)
		if banned := d.ban(t, "127.0.0.4", 0, ""); banned.Kept {
			t.Errorf("%s: want it not kept, got %+v", what, banned)
		}
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestBansThatAreOverDoNotComeBack(t *testing.T) {
	directory := shortDirectory(t)
	now := time.Now()
	saved := &state.Snapshot{Clean: true, Bans: []state.Ban{
		{From: prefix("127.0.0.4/32"), Since: now, Until: now.Add(time.Millisecond)},
		{From: prefix("127.0.0.9/32"), Since: now, Until: now.Add(time.Hour)},
	}}
	if err := state.Save(filepath.Join(directory, stateName), saved, now, false); err != nil {
		t.Fatal(err)
	}
	awaitSaved(t, directory, 1)
	d := startControlled(t, directory)
	d.await(t, `level=INFO msg="bans are back" count=1`)
	if list := d.bans(t); len(list) != 1 || list[0].From != prefix("127.0.0.9/32") {
		t.Errorf("want the other one, got %+v", list)
	}
	loud := enter(t, "127.0.0.4", d.relay)
	d.awaitStatus(t, "it to join", func(s admin.Status) bool { return s.Peers.Learned == 1 })
	enter(t, "127.0.0.3", d.relay).say(t, "welcome")
	loud.hears(t, "welcome")
}

func TestADamagedStateFileCostsTheBans(t *testing.T) {
	directory := shortDirectory(t)
	name := filepath.Join(directory, stateName)
	first := startControlled(t, directory)
	first.ban(t, "127.0.0.4", 0, "lost")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(content), "127.0.0.4/32", "127.0.0.5/32", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	second := startControlled(t, directory)
	second.await(t, `level=WARN msg="the file of the peers cannot be used; those who only listen have to join again, and bans are lost" error=.* set_aside_as=`)
	if list := second.bans(t); len(list) != 0 {
		t.Errorf("want no bans, got %+v", list)
	}
}
