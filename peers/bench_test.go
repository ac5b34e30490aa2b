package peers_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

// manyPeers returns a table of so many peers and their addresses in random
// order, the same in each run.
func manyPeers(b *testing.B, count int) (*peers.Table, []netip.AddrPort) {
	b.Helper()
	table, order := openTable(0, 0), nths(0, count)
	for _, from := range order {
		table.Heard(from, start)
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(count, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return table, order
}

// Each datagram comes at a time of its own, so that each refreshes its peer.
func BenchmarkHeardKnown(b *testing.B) {
	for _, count := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprintf("peers=%d", count), func(b *testing.B) {
			table, order := manyPeers(b, count)
			now, i := start, 0
			b.ReportAllocs()
			for b.Loop() {
				if _, verdict := table.Heard(order[i], now); verdict != peers.Known {
					b.Fatalf("want %q, got %q", peers.Known, verdict)
				}
				if i++; i == count {
					i, now = 0, now.Add(time.Microsecond)
				}
			}
		})
	}
}

// Each datagram comes from a new port.
func BenchmarkHeardSender(b *testing.B) {
	table, from := sendTable(), netip.MustParseAddr("192.0.2.2")
	table.Heard(netip.AddrPortFrom(from, 1), start)
	now, port := start, 1024
	b.ReportAllocs()
	for b.Loop() {
		if _, verdict := table.Heard(netip.AddrPortFrom(from, uint16(port)), now); verdict != peers.Known {
			b.Fatalf("want %q, got %q", peers.Known, verdict)
		}
		if port++; port == 1<<16 {
			port, now = 1024, now.Add(time.Microsecond)
		}
	}
}

// Each datagram comes from a new address, so that a sender makes room, while all
// others but a few go on speaking.
func BenchmarkHeardNewSender(b *testing.B) {
	for _, active := range []int{0, 4000} {
		b.Run(fmt.Sprintf("active=%d", active), func(b *testing.B) {
			table, i := sendTable(), 0
			for ; i < 4096; i++ {
				table.Heard(nth(i), start)
			}
			b.ReportAllocs()
			for b.Loop() {
				now := at(time.Duration(i))
				if active > 0 {
					table.Heard(nth(i%active), now)
				}
				table.Heard(nth(100_000+i%10_000_000), now)
				i++
			}
		})
	}
}

func BenchmarkHeardRefused(b *testing.B) {
	table := openTable(1, 0)
	table.Heard(nth(0), start)
	b.ReportAllocs()
	for b.Loop() {
		if _, verdict := table.Heard(nth(1), start); verdict != peers.TableFull {
			b.Fatalf("want %q, got %q", peers.TableFull, verdict)
		}
	}
}

// An operation is one peer that joins and expires with all the others.
func BenchmarkJoinAndExpire(b *testing.B) {
	for _, count := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprintf("peers=%d", count), func(b *testing.B) {
			table, order := manyPeers(b, count)
			now, i := at(time.Minute), 0
			table.Expire(now)
			b.ReportAllocs()
			for b.Loop() {
				if _, verdict := table.Heard(order[i], now); verdict != peers.Joined {
					b.Fatalf("want %q, got %q", peers.Joined, verdict)
				}
				if i++; i == count {
					i, now = 0, now.Add(time.Minute)
					if got := len(table.Expire(now)); got != count {
						b.Fatalf("want %d peers to expire, got %d", count, got)
					}
				}
			}
		})
	}
}

// The look through the table that finds nobody to expire.
func BenchmarkExpireNobody(b *testing.B) {
	for _, count := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("peers=%d", count), func(b *testing.B) {
			table, _ := manyPeers(b, count)
			b.ReportAllocs()
			for b.Loop() {
				table.Expire(start)
			}
		})
	}
}

func BenchmarkReceivers(b *testing.B) {
	table, _ := manyPeers(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if got := len(table.Receivers()); got != 1000 {
			b.Fatalf("want 1000 receivers, got %d", got)
		}
	}
}

// A ban, while there are bans of every length, is what new senders wait for.
func BenchmarkBanAmongManyPeers(b *testing.B) {
	table := openTable(0, 0)
	for i := range 10_000 {
		table.Heard(netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)}), 40000), start)
	}
	far := netip.MustParseAddr("3fff::1")
	for bits := 8; bits <= 128; bits++ {
		table.Ban(netip.PrefixFrom(far, bits), time.Time{}, "", start)
	}
	for b.Loop() {
		table.Ban(netip.PrefixFrom(far, 128), time.Time{}, "", start)
	}
}
