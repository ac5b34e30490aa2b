package state

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"time"

	"udprelay/internal/banlist"
	"udprelay/peers"
)

// MaxPeers is how many peers a file holds at most.
const MaxPeers = 1_000_000

// MaxNames is how many names a file holds at most.
const MaxNames = 10_000

const (
	maxName = 512     // bytes, as it is written
	maxZone = 128     // bytes, as it is written; that of a peer is a number
	maxLine = 1024    // bytes, without the line's end; no line that is saved has as many
	maxFile = 1 << 28 // bytes; a million peers take half of that

	// maxAge bounds ages, and how long a daemon was away: what is older counts
	// as this old. Two of them fit a time.Duration.
	maxAge = 100 * 365 * 24 * time.Hour
)

// A Peer is a learned peer.
type Peer struct {
	Addr   netip.AddrPort // unmapped
	Source netip.Addr     // the local address that the peer knows us by, unmapped; the zero Addr: none
	Link   uint32         // the number of the interface of Source, if it is link-local; not kept without a Source
	Proof  peers.Join     // what the peer joined with
	Joined time.Time
	Heard  time.Time // when its last datagram came
}

// A Name is the address that a static peer had which is configured by its name.
type Name struct {
	Text string         // host and port, as configured
	Addr netip.AddrPort // unmapped
}

// A Snapshot is what a file holds.
type Snapshot struct {
	Peers  []Peer
	Names  []Name
	Bans   []Ban
	Shared []banlist.Entry // what the cluster has of bans, as the daemon knows it
	Clean  bool            // this is the last save of an orderly stop
	Every  time.Duration   // there is a save at least this often
	Secret string          // from Fingerprint; "": there is no join secret
	Listen netip.AddrPort  // where the relay listens, for who reads the file; the zero AddrPort: unknown

	// What the kernel has dropped at the socket of the relay, as far as that has
	// counted it.
	Socket      uint64 // tells the socket from all others until the next boot; 0: unknown
	KernelDrops uint32 // datagrams since the socket was opened, modulo 2³²; not kept without a Socket

	// Set by Load.
	Saved    time.Time     // by the wall clock; the zero Time: there was no file
	Away     time.Duration // how long ago that was, by the best clock there is
	SameBoot bool          // the machine has not been restarted since, so that the numbers of interfaces and sockets hold
}

// Save writes s to the file name, in place of what is there. Ages are counted
// to now.
//
// The file is written beside, as name + ".new" with mode 0600, and then
// renamed: whatever happens, name is the old file or the new one, each whole.
// With sync it is on the disk when Save returns, and outlives a loss of power;
// without, a loss of power may leave a damaged file on some file systems. A
// name.new that a crash has left is overwritten. If name is a symbolic link, the
// file that it leads to is replaced, and the link stays; one that leads nowhere
// is an error, as is all that is no regular file. A file has one writer at a
// time: two would overwrite each other's name.new.
//
// An error names the file and what failed. It has a method Hint() string, which
// says what to do about it, or is empty.
func Save(name string, s *Snapshot, now time.Time, sync bool) error {
	return save(name, s, now, sync, func([]byte) {})
}

// save is [Save]. Elsewhere gets what the file would hold if it cannot be written,
// and must not keep data.
func save(name string, s *Snapshot, now time.Time, sync bool, elsewhere func(data []byte)) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	data, err := appendSnapshot((*buffer)[:0], s, momentAt(now))
	if err != nil {
		return &saveError{name, err}
	}
	*buffer = data
	if err := replace(name, data, sync); err != nil {
		elsewhere(data)
		return &saveError{name, err}
	}
	return nil
}

// Load reads what Save has written to the file name, with all times as if the
// daemon had never been away: a peer that was heard 5 s before the save is one
// that was heard 5 s and the time away before now. If the file is not from an
// orderly stop, peers may have been heard after it was saved, so that they count
// as heard up to [Snapshot.Every] later, but not later than now. Of a ban, what
// was left of it at the save less the time away is left, and one of which nothing
// is left is passed over. What the cluster has of bans is as it was: its times are
// those of wall clocks.
//
// If there is no such file, the snapshot is empty, and its Saved is zero. A
// [*Damaged] is the error if there is something else in the file than Save
// writes. Any other error is of the file system: the file, which may be whole,
// could not be read. To save then replaces a file that nobody has read.
func Load(name string, now time.Time) (*Snapshot, error) {
	data, err := read(name)
	switch {
	case errors.Is(err, errTooLong):
		return nil, &Damaged{File: name, Reason: err.Error(), Foreign: true} // no file of ours is so long
	case err != nil:
		return nil, err
	case data == nil:
		return new(Snapshot), nil
	}
	return decode(name, data, now)
}

// LoadFrom reads what [Saver.Elsewhere] was given and file has from its begin on, as
// [Load] does.
func LoadFrom(file *os.File, now time.Time) (*Snapshot, error) {
	data, err := io.ReadAll(io.NewSectionReader(file, 0, maxFile))
	if err != nil {
		return nil, err
	}
	return decode(file.Name(), data, now)
}

func decode(name string, data []byte, now time.Time) (*Snapshot, error) {
	s, damaged := parse(data, momentAt(now))
	if damaged != nil {
		damaged.File = name
		return nil, damaged
	}
	return s, nil
}

// TrustSecret makes the peers that have proved that they know the join secret
// ones that have only given a cookie back, if secret is not the one of that
// time. It returns how many these are.
func (s *Snapshot) TrustSecret(secret []byte) (distrusted int) {
	if SameSecret(s.Secret, secret) {
		return 0
	}
	for i := range s.Peers {
		if p := &s.Peers[i]; p.Proof == peers.JoinSecret {
			p.Proof = peers.JoinCookie
			distrusted++
		}
	}
	return distrusted
}
