// Package state keeps the learned peers and the bans in a file, so that they
// outlive a restart of the daemon.
//
// [Save] replaces the file as a whole, [Load] reads it, [SetAside] puts a
// damaged one out of the way, and a [Saver] saves again and again while the
// daemon runs. The table of peers is not known here: a [Snapshot] is filled and
// used by who owns the table.
//
// # The file
//
// It is text: a line for the whole, then one for each peer, name and ban, and
// for each entry of the bans of the cluster, each a JSON object.
// (The lines are folded here.)
//
//	{"udprelay":"peers","version":1,"saved":"2026-11-22T21:40:07.250Z",
//	 "boot":"5c0b6a2e-0d57-4f0c-9d8e-3b7a1f2c4d5e","boottime_ms":86400123,
//	 "clean":false,"every_ms":10000,"listen":"[::]:9000",
//	 "socket":"2f01","kernel_drops":17,
//	 "secret":"00112233445566778899aabbccddeeff:0123456789abcdef",
//	 "peers":2,"names":1,"bans":2,"shared":2,"crc32c":"ef8343e5"}
//	{"address":"192.0.2.7:40000","proof":"open","joined_ms":61250,"heard_ms":15}
//	{"address":"[fe80::2%3]:40000","source":"fe80::1","link":3,"proof":"secret",
//	 "joined_ms":900,"heard_ms":900}
//	{"name":"collector.example:2055","address":"192.0.2.9:2055"}
//	{"ban":"198.51.100.0/24","since_ms":3000000,"left_ms":600000,
//	 "reason":"too%20loud"}
//	{"ban":"2001:db8:bad::/48","since_ms":90061001,"shared":true,"reason":""}
//	{"from":"203.0.113.0/24","at_ms":1795383606250,"by":"south","lifted":true}
//	{"from":"2001:db8:bad::/48","at_ms":1795293546249,"by":"north"}
//
// The first line:
//
//	saved        the wall clock, UTC
//	boot         which start of the machine it was; "": unknown
//	boottime_ms  how long the machine was up, sleep included; 0: unknown
//	clean        the save was the last one of an orderly stop
//	every_ms     there is a save at least this often
//	listen       where the relay listened, for who reads the file; "": unknown
//	socket       the number of its socket, in hex as ss -ue has it; "": unknown
//	kernel_drops datagrams that the kernel has dropped there, modulo 2³²
//	secret       what tells whether the join secret is the same, see
//	             [Fingerprint]; "": there was none
//	peers        how many lines of peers follow
//	names        and how many of names after those
//	bans         and how many of bans after those
//	shared       and how many of entries of the cluster's after those; none: 0
//	crc32c       CRC-32C, in hex, of all bytes of the file but these eight digits
//
// A peer's line:
//
//	address      where it is
//	source       the local address that it knows us by, if it is known
//	link         the number of the interface of source, if there is need of it
//	proof        what it joined with: open, cookie, secret
//	joined_ms    how long before the save it joined
//	heard_ms     how long before the save it was last heard
//
// A name's line has a static peer that is configured by its name, and the address
// that the name had last: a restart goes on with it until the name is looked up.
//
// A ban's line:
//
//	ban          the prefix whose addresses are banned
//	since_ms     how long before the save it began
//	left_ms      how much of it was left at the save; none: it is for ever
//	shared       it is one of the cluster, as it wants it; none: it is ours alone
//	reason       why; "": nobody has said
//
// Last comes what the cluster has of bans, also those that were lifted there,
// one entry a line as package banlist writes it.
//
// What in a zone, a name or a reason could end a JSON string, or is not plain
// ASCII, stands as %XX.
//
// Reading is strict: keys, their order and the way in which values are written
// are those of Save, so that each snapshot has one form. Whatever differs is an
// error that names the line.
//
// # Drops
//
// The socket may outlive the daemon, and its receive queue be full before there
// is another. So that the next relay counts what the kernel drops meanwhile, the
// file has how many datagrams the last one had counted of all that the kernel has
// dropped since the socket was opened (Linux: SO_MEMINFO). That holds for this very
// socket only, which its number (Linux: SO_COOKIE) tells from all others until
// the next boot.
//
// # Time
//
// A wall clock can step while the daemon is away, and many machines start with
// a wrong one. So ages are kept, not times, and how long the daemon was away is
// told by the clock that counts from the start of the machine (Linux:
// CLOCK_BOOTTIME) if the machine has not been restarted since. If it has, the
// wall clock tells, but never less than the time since that restart.
//
// After a crash the file is older than the daemon's end, by every_ms at most.
// Peers may have been heard in that time, so they count as heard that much
// later. What was left of a ban is less by the whole time away, after a crash as
// after an orderly stop: that a ban goes on does not hang on who was heard. It is
// rounded so that a restart makes a ban milliseconds longer and never shorter.
//
// The entries of the cluster have times of the wall clock, for they are compared
// with those of other machines, and are loaded as they are.
package state
