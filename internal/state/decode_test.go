package state

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"udprelay/internal/testneed"
	"udprelay/peers"
)

// sealed returns a file with the checksum that it should have, if it has one.
func sealed(file []byte) []byte {
	file = bytes.Clone(file)
	head, _, _ := bytes.Cut(file, []byte("\n"))
	if i := bytes.LastIndex(head, []byte(keySum)); i >= 0 && len(head) >= i+len(keySum)+sumDigits {
		i += len(keySum)
		copy(file[i:], checksum(file, i))
	}
	return file
}

func TestDamagedFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	good := string(encoded(t, shown, savedAt))
	swap := func(old, new string) string {
		if strings.Count(good, old) == 0 {
			t.Fatalf("%q is not in the file", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	head, rest, _ := strings.Cut(good, "\n")
	first, _, _ := strings.Cut(rest, "\n")
	for _, test := range []struct {
		file string
		seal bool
		want string
	}{
		{"", false, ": the file is empty: want a first line that says what it is"},
		{"listen: \":9000\"\n", false, `:1: this is no file of learned peers: want it to begin with {"udprelay":"peers","version":1`},
		{"\x00\x00\x00\x00", false, `:1: this is no file of learned peers: want it to begin with {"udprelay":"peers","version":1`},
		{swap(`"version":1`, `"version":2`), true, ":1: the file has version 2, and this udprelay reads version 1"},
		{swap(`"version":1`, `"version":-1`), true, `:1: version: want a number from 0 to 2147483647, got "-1"`},
		{swap("40000", "40001"), false, ":1: the checksum of the file is 7949b38d: want ef8343e5, as it says; something in it was changed"},
		{swap(`"peers":2`, `"peers":3`), true, ":8: the file has 7 peers, names and bans: want 8, as its first line says"},
		{swap(`"peers":2`, `"peers":1`), true, ":8: the file has 7 peers, names and bans: want 6, as its first line says"},
		{swap(`"peers":2`, `"peers":1000001`), true, `:1: peers: want a number from 0 to 1000000, got "1000001"`},
		{good + first + "\n", true, ":9: the file has 8 peers, names and bans: want 7, as its first line says"},
		{good + "\n", true, ":9: the file has 8 peers, names and bans: want 7, as its first line says"},
		{good + "x", true, ":9: the file ends within this line"},
		{good[:len(good)-1], true, ":8: the file ends within this line"},
		{good[:len(head)+1+len(first)], true, ":2: the file ends within this line"},
		{good[:len(head)+1], true, ":1: the file has 0 peers, names and bans: want 7, as its first line says"},
		{head, true, ":1: the file ends within this line"},
		{head[:100], true, ":1: the file ends within this line"},
		{swap(`,"crc32c"`, `,"more":1,"crc32c"`), true, `:1: want ,"crc32c":" here, got ",\"more\":1,\"crc32c\":\"ef8343e5\"}"`},
		{swap(`ef8343e5`, `99A01F81`), false, `:1: crc32c: want 8 lower-case hex digits, got "99A01F81"`},
		{swap("22T21", "22t21"), true, `:1: saved: want a time such as 2026-01-31T12:00:00.000Z, got "2026-11-22t21:40:07.250Z"`},
		{swap("11-22T21", "02-31T21"), true, `:1: saved: want a time such as 2026-01-31T12:00:00.000Z, got "2026-02-31T21:40:07.250Z"`},
		{swap("5c0b", "5C0B"), true, `:1: boot: want 36 lower-case hex digits and dashes, or nothing, got "5C0B6a2e-0d57-4f0c-9d8e-3b7a1f2c4d5e"`},
		{swap("86400123", "-5"), true, `:1: boottime_ms: want a number from 0 to 3153600000000, got "-5"`},
		{swap("false", "maybe"), true, `:1: want false here, got "maybe,\"every_ms\":10000,\"listen\":\"[::]:9000\",\"socket\":\"2f01\","…`},
		{swap("[::]:9000", ":9000"), true, `:1: listen: want an address and port such as [::]:9000, or nothing, got ":9000"`},
		{swap("2f01", "2F01"), true, `:1: socket: want up to 16 lower-case hex digits without zeros before them, or nothing, got "2F01"`},
		{swap("2f01", "0"), true, `:1: socket: want up to 16 lower-case hex digits without zeros before them, or nothing, got "0"`},
		{swap("2f01", "02f01"), true, `:1: socket: want up to 16 lower-case hex digits without zeros before them, or nothing, got "02f01"`},
		{swap("2f01", "12345678123456781"), true, `:1: socket: want up to 16 lower-case hex digits without zeros before them, or nothing, got "12345678123456781"`},
		{swap("2f01", ""), true, `:1: kernel_drops is 17: want 0, for the file names no socket`},
		{swap(`:17`, `:4294967296`), true, `:1: kernel_drops: want a number from 0 to 4294967295, got "4294967296"`},
		{swap(`:17`, `:-17`), true, `:1: kernel_drops: want a number from 0 to 4294967295, got "-17"`},
		{swap(`:17`, `:"17"`), true, `:1: kernel_drops: want a number from 0 to 4294967295, got "\"17\""`},
		{swap(`,"kernel_drops":17`, ``), true, `:1: want ","kernel_drops": here, got "\",\"secret\":\"00112233445566778899aabbccddeeff:0123456789abcde"…`},
		{swap("0011", "001"), true, `:1: secret: want 32 hex digits, a colon and 16 more, or nothing, got "0012233445566778899aabbccddeeff:0123456789abcdef"`},
		{strings.Replace(good, "\n", " \n", 1), true, `:1: want the end of the line here, got " "`},
		{strings.Replace(good, "\n", "\r\n", 1), true, `:1: want the end of the line here, got "\r"`},
		{swap("192.0.2.7:40000", "192.0.2.7:0"), true, `:2: address "192.0.2.7:0": no peer can have this address`},
		{swap("192.0.2.7:40000", "192.0.2.7"), true, `:2: address: want an address and port such as 192.0.2.7:40000 or [2001:db8::7]:40000, got "192.0.2.7"`},
		{swap("192.0.2.7:40000", "192.0.2.7:70000"), true, `:2: address: want an address and port such as 192.0.2.7:40000 or [2001:db8::7]:40000, got "192.0.2.7:70000"`},
		{swap("192.0.2.7:40000", "[::ffff:192.0.2.7]:40000"), true, `:2: address "[::ffff:192.0.2.7]:40000": an IPv4 address is written as one, not as IPv6`},
		{swap("192.0.2.7:40000", "[FE80::2]:40000"), true, `:2: address: want an address and port such as 192.0.2.7:40000 or [2001:db8::7]:40000, got "[FE80::2]:40000"`},
		{swap("%3]", "%]"), true, `:3: address: want an address and port such as 192.0.2.7:40000 or [2001:db8::7]:40000, got "[fe80::2%]:40000"`},
		{swap("%3]", "%x%3]"), true, `:3: address: want an address and port such as 192.0.2.7:40000 or [2001:db8::7]:40000, got "[fe80::2%x%3]:40000"`},
		{swap(`"fe80::1"`, `"fe80::1/64"`), true, `:3: source: want an address such as 192.0.2.1 or 2001:db8::1, got "fe80::1/64"`},
		{swap(`"fe80::1"`, `"ff02::1"`), true, `:3: source "ff02::1": no datagram leaves from this address`},
		{swap(`"fe80::1"`, `""`), true, `:3: source: want an address such as 192.0.2.1 or 2001:db8::1, got nothing`},
		{swap(`"link":3`, `"link":0`), true, `:3: link: want the number of an interface, got "0"`},
		{swap(`"link":3`, `"link":4294967296`), true, `:3: link: want a number from 0 to 4294967295, got "4294967296"`},
		{swap(`"open"`, `"opne"`), true, `:2: proof: unknown word "opne": want one of open, cookie, secret`},
		{swap(`61250`, `3153600000001`), true, `:2: joined_ms: want a number from 0 to 3153600000000, got "3153600000001"`},
		{swap(`:15}`, `:-15}`), true, `:2: heard_ms: want a number from 0 to 3153600000000, got "-15"`},
		{swap(`:15}`, `:015}`), true, `:2: heard_ms: want a number from 0 to 3153600000000, got "015"`},
		{swap(`:15}`, `:1.5}`), true, `:2: want } here, got ".5}"`},
		{swap(`:15}`, `:99999999999999999999}`), true, `:2: heard_ms: want a number from 0 to 3153600000000, got "99999999999999999999"`},
		{swap(`:15}`, `:61251}`), true, ":2: heard_ms is 61251: want joined_ms, 61250, at most, for nobody is heard before it joins"},
		{swap(`"names":1`, `"names":10001`), true, `:1: names: want a number from 0 to 10000, got "10001"`},
		{swap(`"peers":2,"names":1`, `"peers":1,"names":2`), true, `:3: want {"name":" here, got "{\"address\":\"[fe80::2%3]:40000\",\"source\":\"fe80::1\",\"link\":3,\""…`},
		{swap(`"peers":2,"names":1`, `"peers":3,"names":0`), true, `:4: want {"address":" here, got "{\"name\":\"collector.example:2055\",\"address\":\"192.0.2.9:2055\"}"`},
		{swap("collector.example:2055", ""), true, `:4: want a name of 1 to 512 bytes, got nothing`},
		{swap("collector.example:2055", "collector%2eexample:2055"), true, `:4: name: want a host name and port such as collector.example:2055, got "collector%2eexample:2055"`},
		{swap("collector.example:2055", strings.Repeat("x", maxName+1)), true, `:4: want a name of 1 to 512 bytes, got "` + strings.Repeat("x", 60) + `"…`},
		{swap("192.0.2.9:2055", "192.0.2.9:0"), true, `:4: address "192.0.2.9:0": no peer can have this address`},
		{swap("192.0.2.9:2055", "192.0.2.9"), true, `:4: address: want an address and port such as 192.0.2.7:2055 or [2001:db8::7]:2055, got "192.0.2.9"`},
		{swap(`"bans":2`, `"bans":1001`), true, `:1: bans: want a number from 0 to 1000, got "1001"`},
		{swap(`,"bans":2`, ``), true, `:1: want ,"bans": here, got ",\"shared\":2,\"crc32c\":\"ef8343e5\"}"`},
		{swap(`"names":1,"bans":2`, `"names":2,"bans":1`), true, `:5: want {"name":" here, got "{\"ban\":\"198.51.100.0/24\",\"since_ms\":3000000,\"left_ms\":600000"…`},
		{swap(`"names":1,"bans":2`, `"names":0,"bans":3`), true, `:4: want {"ban":" here, got "{\"name\":\"collector.example:2055\",\"address\":\"192.0.2.9:2055\"}"`},
		{swap("198.51.100.0/24", "198.51.100.0"), true, `:5: ban: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, got "198.51.100.0"`},
		{swap("198.51.100.0/24", "198.51.100.0/33"), true, `:5: ban: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, got "198.51.100.0/33"`},
		{swap("198.51.100.0/24", ""), true, `:5: ban: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, got nothing`},
		{swap("198.51.100.0/24", "198.51.100.1/24"), true, `:5: ban "198.51.100.1/24": only the bits of the prefix may be set in its address`},
		{swap("198.51.100.0/24", "::ffff:198.51.100.0/120"), true, `:5: ban "::ffff:198.51.100.0/120": a prefix of IPv4 addresses is written as one, not as IPv6`},
		{swap("2001:db8:bad::/48", "2001:DB8:bad::/48"), true, `:6: ban: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, got "2001:DB8:bad::/48"`},
		{swap("2001:db8:bad::/48", "fe80::%1/48"), true, `:6: ban: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, got "fe80::%1/48"`},
		{swap(`3000000`, `3153600000001`), true, `:5: since_ms: want a number from 0 to 3153600000000, got "3153600000001"`},
		{swap(`:600000`, `:0`), true, `:5: left_ms: want 1 at least, for a ban that is over is not saved, got "0"`},
		{swap(`:600000`, `:-600000`), true, `:5: left_ms: want a number from 0 to 9223372036854, got "-600000"`},
		{swap(`:600000`, `:9223372036855`), true, `:5: left_ms: want a number from 0 to 9223372036854, got "9223372036855"`},
		{swap("too%20loud", "too loud"), true, `:5: reason: want ASCII without spaces and quotation marks, and %20 for a space, got "too loud"`},
		{swap("too%20loud", "too%2"), true, `:5: reason: want ASCII without spaces and quotation marks, and %20 for a space, got "too%2"`},
		{swap("too%20loud", "too%20l%6Fud"), true, `:5: reason: want ASCII without spaces and quotation marks, and %20 for a space, got "too%20l%6Fud"`},
		{swap("too%20loud", strings.Repeat("x", peers.MaxReason+1)), true, `:5: the reason has 257 bytes: want 256 at most`},
		{swap(`,"reason":""`, ``), true, `:6: want ,"reason":" here, got "}"`},
		{swap(`"shared":true`, `"shared":false`), true, `:6: want ,"reason":" here, got ",\"shared\":false,\"reason\":\"\"}"`},
		{swap(`"shared":2`, `"shared":0`), true, `:1: shared: want 1 at least, or none of it, got "0"`},
		{swap(`"shared":2`, `"shared":2001`), true, `:1: shared: want a number from 0 to 2000, got "2001"`},
		{swap(`,"shared":2`, ``), true, ":8: the file has 7 peers, names and bans: want 5, as its first line says"},
		{swap(`"bans":2,"shared":2`, `"bans":1,"shared":3`), true, `:6: ban of the cluster: from: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, without bits behind it`},
		{swap(`"bans":2,"shared":2`, `"bans":3,"shared":1`), true, `:7: want {"ban":" here, got "{\"from\":\"203.0.113.0/24\",\"at_ms\":1795383606250,\"by\":\"south\","…`},
		{swap("203.0.113.0/24", "203.0.113.1/24"), true, `:7: ban of the cluster: from: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, without bits behind it`},
		{swap("south", ""), true, `:7: ban of the cluster: by: it has 0 bytes; want the name of a node, of 1 to 64`},
		{swap(`"north"}`, `"north","lifted":false}`), true, `:8: ban of the cluster: want "}" here, got ",\"lifted\":false}"`},
		{swap(first, strings.Repeat("x", maxLine+1)), true, ":2: the line has more than 1024 bytes"},
		{swap(head, strings.Repeat("x", maxLine+1)), true, ":1: the line has more than 1024 bytes"},
	} {
		data := []byte(test.file)
		if test.seal {
			data = sealed(data)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(name, savedAt.wall)
		damaged := (*Damaged)(nil)
		// The header's own checksum is quoted in some messages.
		want := name + test.want
		if test.seal && strings.Contains(want, "ef8343e5") {
			_, after, _ := bytes.Cut(data, []byte(keySum))
			want = strings.ReplaceAll(want, "ef8343e5", string(after[:sumDigits]))
		}
		if s != nil || !errors.As(err, &damaged) || err.Error() != want {
			t.Errorf("want\n%s\ngot\n%v\nof %q", want, err, data)
		}
	}
}

// What was never a file of learned peers may be somebody else's.
func TestForeignFilesAreToldFromDamagedOnes(t *testing.T) {
	good := string(encoded(t, shown, savedAt))
	for file, want := range map[string]bool{
		"listen: \":9000\"\n": true, "127.0.0.1 localhost\n": true, "\x7fELF\x00\x00": true, "\nx": true, strings.Repeat("x", 2*maxLine): true,
		"": false, "\x00\x00": false, good[:1]: false, good[:10]: false, good[:100]: false, good + "x": false, strings.Replace(good, "40000", "40001", 1): false,
	} {
		if _, damaged := parse([]byte(file), savedAt); damaged == nil || damaged.Foreign != want {
			t.Errorf("want %.20q foreign: %t, got %+v", file, want, damaged)
		}
	}
}

func TestAFileThatIsTooLongIsNotRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := os.Truncate(name, 1<<33) // it has holes only
	testneed.True(t, err == nil, "a file system that knows holes: %v", err)
	_, err = Load(name, savedAt.wall)
	if damaged := (*Damaged)(nil); !errors.As(err, &damaged) || err.Error() != name+": the file has more than 268435456 bytes" {
		t.Fatalf("want the file to be too long, got %v", err)
	}
}

func TestNoPartOfAFileIsLoaded(t *testing.T) {
	file := encoded(t, manyPeers(20, savedAt.wall), savedAt)
	for n := range file {
		if s, damaged := parse(file[:n], savedAt); damaged == nil {
			t.Fatalf("want the first %d of %d bytes to be damaged, got %d peers", n, len(file), len(s.Peers))
		}
	}
}

func TestNoChangedBitIsLoaded(t *testing.T) {
	file := encoded(t, shown, savedAt)
	for i := range file {
		for bit := range 8 {
			changed := bytes.Clone(file)
			changed[i] ^= 1 << bit
			if _, damaged := parse(changed, savedAt); damaged == nil {
				t.Fatalf("want damaged, got no error with bit %d of byte %d changed:\n%s", bit, i, changed)
			}
		}
	}
}

// FuzzLoad holds parse to this: it never panics; an error names a line of the
// file and fits on one; what loads is written as it was, and saved at another
// time loads as the same.
func FuzzLoad(f *testing.F) {
	f.Add(encoded(f, shown, savedAt), false)
	f.Add(encoded(f, shown, savedAt), true)
	f.Add(encoded(f, manyPeers(5, savedAt.wall), savedAt), true)
	clean := *shown
	clean.Clean, clean.Secret, clean.Socket = true, "", 0
	f.Add(encoded(f, &clean, moment{wall: savedAt.wall}), true)
	f.Add(encoded(f, new(Snapshot), savedAt), true)
	f.Add(encoded(f, &Snapshot{Socket: math.MaxUint64, KernelDrops: math.MaxUint32}, savedAt), true)
	f.Add(bytes.Replace(encoded(f, shown, savedAt), []byte("2f01"), nil, 1), true)
	f.Add(bytes.Replace(encoded(f, shown, savedAt), []byte(`"2f01","kernel_drops":17`), []byte(`"0A0","kernel_drops":017`), 1), true)
	bans := manyBans(savedAt.wall)
	f.Add(encoded(f, bans, savedAt), true)
	f.Add(encoded(f, manyShared(savedAt.wall), savedAt), true)
	f.Add(bytes.Replace(encoded(f, shown, savedAt), []byte(`"lifted":true`), []byte(`"lifted":false`), 1), true)
	f.Add(bytes.Replace(encoded(f, shown, savedAt), []byte(`,"shared":true`), nil, 1), true)
	f.Add(bytes.Replace(encoded(f, bans, savedAt), []byte("%20"), []byte("%2g"), 1), true)
	f.Add(bytes.Replace(encoded(f, bans, savedAt), []byte("/32"), []byte("/31"), 1), true)
	f.Add(bytes.Replace(encoded(f, shown, savedAt), []byte(`"left_ms":600000`), []byte(`"left_ms":7654321`), 1), true)
	for _, peer := range []string{
		`{"address":"[fe80::2%e%25%C3]:1","proof":"cookie","joined_ms":3153600000000,"heard_ms":0}`,
		`{"address":"0.0.0.0:1","source":"ff02::1%1","link":0,"proof":"secret","joined_ms":-1,"heard_ms":00}`,
		`{"address":"[::1%zone%]:65536","source":"::ffff:1.2.3.4","proof":"","joined_ms":0,"heard_ms":1}`,
	} {
		head, _, _ := bytes.Cut(encoded(f, &Snapshot{Peers: shown.Peers[:1]}, savedAt), []byte("\n"))
		f.Add(fmt.Appendf(nil, "%s\n%s\n", head, peer), true)
	}
	now := savedAt.later(7654321e6)
	f.Fuzz(func(t *testing.T, file []byte, seal bool) {
		if seal { // else nothing gets by the checksum
			file = sealed(file)
		}
		s, damaged := parse(file, now)
		if damaged != nil {
			text := damaged.Error()
			if lines := bytes.Count(file, []byte("\n")) + 1; damaged.Line < 0 || damaged.Line > lines || damaged.Line == 0 && len(file) > 0 {
				t.Errorf("want a line from 1 to %d, got %s", lines, text)
			}
			if damaged.Reason == "" || strings.ContainsAny(text, "\n\r") || !utf8.ValidString(text) || len(text) > 1000 {
				t.Errorf("want one line, got %q", text)
			}
			return
		}
		if len(s.Peers) > 0 && (s.Peers[0].Heard.After(now.wall) || s.Peers[0].Joined.After(s.Peers[0].Heard)) {
			t.Errorf("want joined, heard and now in this order, got %v, %v and %v", s.Peers[0].Joined, s.Peers[0].Heard, now.wall)
		}
		for _, b := range s.Bans {
			if b.Since.After(now.wall) || !b.Until.IsZero() && !b.Until.After(now.wall) {
				t.Errorf("want a ban that has begun and is not over, got one of %v from %v until %v", b.From, b.Since, b.Until)
			}
		}
		again, damaged := parse(encoded(t, s, now), now)
		if damaged != nil {
			t.Fatalf("want what was loaded to load again, got %v", damaged)
		}
		wantSame(t, s, again)

		head, _, _ := strings.Cut(string(file), "\n")
		h, err := parseHeader(head)
		if err != nil {
			t.Fatal(err)
		}
		then, damaged := parse(file, h.saved)
		if damaged != nil {
			t.Fatal(damaged)
		}
		if got := encoded(t, then, h.saved); !bytes.Equal(got, file) {
			t.Fatalf("want one form of a snapshot, got\n%s\nand\n%s", file, got)
		}
	})
}
