package peers_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// wantBanned bans a prefix for ever and checks who leaves.
func wantBanned(t *testing.T, table *peers.Table, text string, now time.Time, removed ...string) {
	t.Helper()
	list, err := table.Ban(prefix(text), time.Time{}, "", now)
	if err != nil {
		t.Fatalf("Ban(%s): want no error, got %v", text, err)
	}
	wantPeers(t, "removed by Ban", list, removed...)
}

func TestBanKeepsAnAddressOutUntilItEnds(t *testing.T) {
	table := openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantHeard(t, table, "198.51.100.1:1", at(0), peers.Joined)
	removed, err := table.Ban(prefix("192.0.2.0/24"), at(10*time.Second), "too loud", at(0))
	if err != nil {
		t.Fatal(err)
	}
	wantPeers(t, "removed by Ban", removed, "192.0.2.1:1")
	wantPeers(t, "Receivers", table.Receivers(), "198.51.100.1:1")
	wantHeard(t, table, "192.0.2.1:1", at(10*time.Second-1), peers.Banned)
	wantAdmitted(t, table, "192.0.2.200:1", at(10*time.Second-1), peers.Banned)
	wantHeard(t, table, "192.0.3.1:1", at(10*time.Second-1), peers.Joined)
	want := []peers.Ban{{From: prefix("192.0.2.0/24"), Since: at(0), Until: at(10 * time.Second), Reason: "too loud"}}
	if got := table.Bans(at(10*time.Second - 1)); !slices.Equal(got, want) {
		t.Errorf("Bans: want %v, got %v", want, got)
	}
	if got := want[0].String(); got != "192.0.2.0/24 is banned until 2026-03-01T12:00:10Z: too loud" {
		t.Errorf("want the ban in words, got %q", got)
	}
	// It ends by itself, whether or not anybody expires anything.
	if got := table.Bans(at(10 * time.Second)); len(got) != 0 {
		t.Errorf("Bans: want none when it is over, got %v", got)
	}
	wantHeard(t, table, "192.0.2.1:1", at(10*time.Second), peers.Joined)
	wantCounts(t, table, 3, 0)
}

func TestBanCountsBeforeTheRulesAndAfterWhatCanBeNoPeer(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{rule("192.0.2.0/24", peers.MayNothing)}}, start)
	wantBanned(t, table, "0.0.0.0/0", start)
	wantBanned(t, table, "fe80::/64", start)
	wantHeard(t, table, "192.0.2.1:1", start, peers.Banned)
	wantHeard(t, table, "198.51.100.1:1", start, peers.Banned)
	wantHeard(t, table, "[fe80::1%eth0]:1", start, peers.Banned)
	wantHeard(t, table, "192.0.2.1:0", start, peers.NeverAPeer)
	wantHeard(t, table, "192.0.2.1:7", start, peers.NeverAPeer)
	wantHeard(t, table, "[2001:db8::1]:1", start, peers.RefusedByRule)
}

func TestStaticPeerThatIsBannedStaysAndMayDoNothing(t *testing.T) {
	table := openTable(0, 0)
	table.SetStatic(addrs("192.0.2.1:1", "198.51.100.1:1"), start)
	p := table.Lookup(addr("192.0.2.1:1"))
	wantStanding := func(when string, banned bool, may peers.May, receivers ...string) {
		t.Helper()
		if p.Banned() != banned || p.May() != may || table.Lookup(p.Addr()) != p {
			t.Errorf("%s: want it in the table, banned %v, may %v; got %v, may %v", when, banned, may, p.Banned(), p.May())
		}
		wantPeers(t, "Receivers "+when, table.Receivers(), receivers...)
		wantCounts(t, table, 0, len(table.Peers()))
	}
	if _, err := table.Ban(prefix("192.0.2.1/32"), at(time.Minute), "", start); err != nil {
		t.Fatal(err)
	}
	wantStanding("when it is banned", true, peers.MayNothing, "198.51.100.1:1")
	table.SetOptions(peers.Options{Expiry: time.Minute, Access: anyBoth})
	table.SetStatic(addrs("192.0.2.1:1", "198.51.100.1:1"), at(1))
	wantStanding("after other options", true, peers.MayNothing, "198.51.100.1:1")
	wantHeard(t, table, "192.0.2.1:1", at(2), peers.Known)

	wantBanned(t, table, "192.0.2.0/24", at(3))
	table.Expire(at(time.Minute))
	wantStanding("when one of two bans is over", true, peers.MayNothing, "198.51.100.1:1")
	if !table.Unban(prefix("192.0.2.77/24")) || table.Unban(prefix("192.0.2.0/24")) {
		t.Error("Unban: want it true once, for the prefix however it is written")
	}
	wantStanding("when both are over", false, peers.MayBoth, "192.0.2.1:1", "198.51.100.1:1")

	// One that comes into a ban, and one that is static no more.
	wantBanned(t, table, "0.0.0.0/0", at(time.Minute))
	added, _ := table.SetStatic(addrs("192.0.2.1:1", "203.0.113.1:1"), at(time.Minute))
	wantPeers(t, "added", added, "203.0.113.1:1")
	wantStanding("when all are banned", true, peers.MayNothing)
	wantHeard(t, table, "192.0.2.1:1", at(time.Minute), peers.Known)
	_, removed := table.SetStatic(nil, at(time.Minute))
	wantPeers(t, "removed", removed, "192.0.2.1:1", "203.0.113.1:1")
}

func TestRestoreHeedsBans(t *testing.T) {
	table := openTable(0, 0)
	list := []peers.Ban{
		{From: prefix("192.0.2.0/24"), Since: at(-time.Hour), Until: at(time.Hour), Reason: "a"},
		{From: prefix("198.51.100.0/24"), Until: at(0)}, // over
		{From: netip.Prefix{}},
		{From: prefix("::ffff:203.0.113.0/120"), Reason: "mapped"},
		{From: prefix("192.0.2.0/24"), Reason: "again"},
	}
	wantPeers(t, "removed", table.RestoreBans(list, at(0)))
	want := []peers.Ban{list[0], {From: prefix("203.0.113.0/24"), Reason: "mapped"}}
	if got := table.Bans(at(0)); !slices.Equal(got, want) {
		t.Errorf("Bans: want %v, got %v", want, got)
	}
	var remembered []peers.Remembered
	for _, from := range addrs("192.0.2.1:1", "198.51.100.1:1", "203.0.113.1:1") {
		remembered = append(remembered, peers.Remembered{Addr: from, Joined: at(0), Heard: at(0)})
	}
	wantPeers(t, "Restore", table.Restore(remembered, at(0)), "198.51.100.1:1")
	// The other way round it comes to the same.
	other := openTable(0, 0)
	other.Restore(remembered, at(0))
	wantPeers(t, "removed", other.RestoreBans(list, at(0)), "192.0.2.1:1", "203.0.113.1:1")
	wantCounts(t, other, 1, 0)
}

func TestBansAreBounded(t *testing.T) {
	table := openTable(0, 0)
	nth := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
	}
	for i := range peers.MaxBans {
		if _, err := table.Ban(nth(i), time.Time{}, "", start); err != nil {
			t.Fatalf("ban %d: %v", i, err)
		}
	}
	if _, err := table.Ban(nth(peers.MaxBans), time.Time{}, "", start); !errors.Is(err, peers.ErrTooManyBans) {
		t.Errorf("want %v, got %v", peers.ErrTooManyBans, err)
	}
	wantHeard(t, table, "10.255.0.1:1", start, peers.Joined)
	// What is there can be changed, and makes room when it is over.
	if _, err := table.Ban(nth(0), at(time.Second), strings.Repeat("é", peers.MaxReason), start); err != nil {
		t.Errorf("ban again: %v", err)
	}
	if got := table.Bans(start)[0].Reason; got != strings.Repeat("é", peers.MaxReason/2) {
		t.Errorf("want %d bytes of the reason kept, got %d: %q", peers.MaxReason, len(got), got)
	}
	table.RestoreBans([]peers.Ban{{From: nth(peers.MaxBans)}}, start)
	wantHeard(t, table, "10.3.232.1:1", start, peers.Joined)
	table.Expire(at(time.Second))
	if _, err := table.Ban(nth(peers.MaxBans), time.Time{}, "", at(time.Second)); err != nil {
		t.Errorf("want room when one is over, got %v", err)
	}
	wantCounts(t, table, 1, 0)
}

func TestBanOfNoAddresses(t *testing.T) {
	table := openTable(0, 0)
	for _, bad := range []netip.Prefix{{}, prefix("::ffff:0:0/95"), netip.PrefixFrom(addr("192.0.2.1:1").Addr(), 33)} {
		if _, err := table.Ban(bad, time.Time{}, "", start); !errors.Is(err, peers.ErrBadPrefix) || table.Unban(bad) {
			t.Errorf("Ban(%v): want %v, got %v", bad, peers.ErrBadPrefix, err)
		}
	}
	// One that is over at once ends what there is.
	wantBanned(t, table, "192.0.2.0/24", start)
	if _, err := table.Ban(prefix("192.0.2.0/24"), start, "", start); err != nil || len(table.Bans(start)) != 0 {
		t.Errorf("want no ban and no error, got %v, %v", table.Bans(start), err)
	}
}

// The bans cost a refused sender no memory, however many there are.
func TestBannedSendersCostNoAllocation(t *testing.T) {
	table := openTable(0, 0)
	for bits := range 33 {
		wantBanned(t, table, fmt.Sprintf("192.0.2.1/%d", bits), start)
	}
	wantBanned(t, table, "fe80::/10", start)
	for _, from := range addrs("192.0.2.1:1", "[fe80::1%eth0]:1") {
		if allocs := testing.AllocsPerRun(1000, func() { table.Heard(from, start) }); allocs != 0 {
			t.Errorf("Heard(%v): want no allocation, got %v", from, allocs)
		}
	}
}

func TestRulesCountWhomTheyLetInAndRefuse(t *testing.T) {
	access := []peers.Rule{rule("192.0.2.1", peers.MayNothing), joinRule("192.0.2.0/24", peers.JoinCookie), rule("10.0.0.0/8", peers.MaySend)}
	table := peers.New(peers.Options{Expiry: time.Minute, Access: access}, start)
	hear := func(from string, want peers.Verdict, wantRule int) {
		t.Helper()
		_, got, tally := table.Hear(addr(from), start, peers.JoinOpen)
		rule := -2
		if tally != nil {
			rule = tally.Index()
			if got == peers.RefusedByRule {
				tally.Refuse(2)
			}
		}
		if got != want || rule != wantRule {
			t.Errorf("Hear(%s): want %q by rule %d, got %q by %d", from, want, wantRule, got, rule)
		}
	}
	hear("192.0.2.1:1", peers.RefusedByRule, 0)
	hear("192.0.2.2:1", peers.NeedsCookie, 1)
	hear("10.0.0.1:1", peers.Joined, 2)
	hear("10.0.0.1:1", peers.Known, -2)
	hear("203.0.113.1:1", peers.RefusedByRule, peers.NoRule)
	hear("203.0.113.1:7", peers.NeverAPeer, -2)
	wantAdmitted(t, table, "192.0.2.2:1", start, peers.Joined)
	table.SetStatic(addrs("10.0.0.2:1"), start)
	want := []peers.RuleCounts{
		{Index: 0, From: "192.0.2.1", May: peers.MayNothing, Refused: 2},
		{Index: 1, From: "192.0.2.0/24", May: peers.MayBoth, Join: peers.JoinCookie, Peers: 1},
		{Index: 2, From: "10.0.0.0/8", May: peers.MaySend, Peers: 1},
		{Index: peers.NoRule, Refused: 2},
	}
	if got := table.Rules(); !slices.Equal(got, want) {
		t.Errorf("Rules: want %+v, got %+v", want, got)
	}
	// Others begin anew, with those who stay.
	table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{rule("10.0.0.0/16", peers.MaySend), rule("192.0.2.2", peers.MayBoth)}})
	want = []peers.RuleCounts{
		{Index: 0, From: "10.0.0.0/16", May: peers.MaySend, Peers: 1}, {Index: 1, From: "192.0.2.2", May: peers.MayBoth, Peers: 1}, {Index: peers.NoRule},
	}
	if got := table.Rules(); !slices.Equal(got, want) {
		t.Errorf("Rules with other options: want %+v, got %+v", want, got)
	}
	if got := table.Lookup(addr("192.0.2.2:1")).Rule(); got != 1 {
		t.Errorf("want the peer to know its rule, 1, got %d", got)
	}
	wantCounts(t, table, 1, 1)
}

func TestKickedPeerMayJoinAgain(t *testing.T) {
	table := openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", start, peers.Joined)
	table.SetStatic(addrs("192.0.2.2:1"), start)
	for from, want := range map[string]bool{"192.0.2.1:1": true, "192.0.2.2:1": false, "192.0.2.3:1": false} {
		removed := table.Kick(func(p *peers.Peer) bool { return p.Addr() == addr(from) })
		if got := len(removed) == 1 && removed[0].Addr() == addr(from); got != want || len(removed) > 1 {
			t.Errorf("kick %s: want %v, got %v", from, want, removed)
		}
	}
	wantHeard(t, table, "192.0.2.1:1", start, peers.Joined)
	wantCounts(t, table, 1, 1)
}
