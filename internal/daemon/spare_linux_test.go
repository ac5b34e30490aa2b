package daemon

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/config"
	"udprelay/internal/state"
	"udprelay/internal/testwait"
)

// stored waits until the manager is given a descriptor to keep under a name, and
// returns it as the next process gets it.
func stored(t *testing.T, manager *net.UnixConn, name string) *os.File {
	t.Helper()
	manager.SetReadDeadline(time.Now().Add(testwait.Patience))
	text, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for {
		n, size, _, _, err := manager.ReadMsgUnix(text, control)
		if err != nil {
			t.Fatalf("want to be given %s to keep: %v", name, err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:size])
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range messages {
			descriptors, err := unix.ParseUnixRights(&message)
			if err != nil {
				t.Fatal(err)
			}
			file := os.NewFile(uintptr(descriptors[0]), name)
			if strings.HasPrefix(string(text[:n]), "FDSTORE=1\nFDNAME="+name+"\n") {
				t.Cleanup(func() { file.Close() })
				return file
			}
			file.Close()
		}
	}
}

// leaveMemory runs a relay, with one peer, whose state file cannot be written,
// for its directory is missing; and returns the memory that it has left.
func leaveMemory(t *testing.T, manager *net.UnixConn) (file config.Setting, relay *net.UDPAddr, peer guest, memory *os.File) {
	t.Helper()
	file = keyed("state.file", filepath.Join(shortDirectory(t), "missing", "peers"))
	d := start(t, surroundings{}, file)
	relay = d.addr(t)
	memory = stored(t, manager, spareName)
	peer = enter(t, "127.0.0.2", relay)
	testwait.Until(t, func() bool {
		held, err := state.LoadFrom(memory, time.Now())
		return err == nil && len(held.Peers) == 1
	}, "want the peer in the memory that the service manager keeps")
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	return file, relay, peer, memory
}

func TestWhatCannotBeWrittenOutlivesARestartInMemory(t *testing.T) {
	manager := managed(t)
	file, relay, listener, memory := leaveMemory(t, manager)
	d := start(t, surroundings{sockets: []*os.File{memory}}, file, keyed("listen", relay.String()))
	d.await(t, `level=INFO msg="peers and bans restored from memory: .*" peers=1`)
	d.addr(t)
	enter(t, "127.0.0.3", relay).say(t, "to a silent peer")
	listener.hears(t, "to a silent peer")

	if err := os.Mkdir(filepath.Dir(file.Value), 0o700); err != nil {
		t.Fatal(err)
	}
	d.await(t, `level=INFO msg="peers are saved again"`)
	told(t, manager, "FDSTOREREMOVE=1\nFDNAME="+spareName)
	if saved, err := state.Load(file.Value, time.Now()); err != nil || len(saved.Peers) != 2 {
		t.Errorf("want the peers in the file, got %+v, %v", saved, err)
	}
}

// What is in memory may be older than the file, or cut off.
func TestMemoryGivesWayToANewerFile(t *testing.T) {
	file, _, _, memory := leaveMemory(t, managed(t))
	if err := os.Mkdir(filepath.Dir(file.Value), 0o700); err != nil {
		t.Fatal(err)
	}
	newer := &state.Snapshot{Peers: []state.Peer{
		{Addr: netip.MustParseAddrPort("127.0.0.8:8"), Joined: time.Now(), Heard: time.Now()},
		{Addr: netip.MustParseAddrPort("127.0.0.9:9"), Joined: time.Now(), Heard: time.Now()},
	}}
	if err := state.Save(file.Value, newer, time.Now().Add(time.Second), false); err != nil {
		t.Fatal(err)
	}
	again := func() *os.File { // each daemon closes what it is given
		fd, err := unix.FcntlInt(memory.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), spareName)
	}
	d := start(t, surroundings{sockets: []*os.File{again()}}, file)
	d.await(t, `msg="peers are back" count=2`)
	if d.log.Has("from memory") {
		t.Error("want the newer file read, got what was in memory")
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if err := memory.Truncate(100); err != nil {
		t.Fatal(err)
	}
	d = start(t, surroundings{sockets: []*os.File{again()}}, file)
	d.await(t, `level=WARN msg="peers and bans in memory cannot be used" error=`)
	d.addr(t)
}

// Memory is given back once nothing is to be saved.
func TestMemoryIsGivenBackWithoutAStateFile(t *testing.T) {
	manager := managed(t)
	_, _, _, memory := leaveMemory(t, manager)
	d := start(t, surroundings{sockets: []*os.File{memory}}, keyed("state.file", "none"))
	d.addr(t)
	told(t, manager, "FDSTOREREMOVE=1\nFDNAME="+spareName)
	if d.log.Has("from memory") {
		t.Error("want nothing restored")
	}
}
