package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/net/ipv4"

	"udprelay/internal/testwait"
)

// TestMemoryStaysSmall runs the program with 100 and with 100,000 learned
// peers and reads what it has resident. The bounds are of the program as users
// get it: the race detector multiplies memory, so the built program is what
// runs. Of what 100 peers take, 18 MB are pages of the program itself, and some MB
// are garbage for a while.
func TestMemoryStaysSmall(t *testing.T) {
	program := t.TempDir() + "/udprelay"
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, test := range []struct{ peers, mostMB int }{{100, 8}, {100_000, 50}} {
		t.Run(fmt.Sprint(test.peers), func(t *testing.T) {
			relay := startRelay(t, program, "--max-peers", "0")
			relay.join(t, test.peers)
			relay.say(t, 2_000_000/test.peers)
			var resident int
			testwait.Until(t, func() bool {
				resident = relay.residentKB(t) / 1000
				return resident < test.mostMB
			}, fmt.Sprintf("want less than %d MB resident with %d peers", test.mostMB, test.peers)) // garbage is returned to the system a while later
			t.Logf("%d peers: %d MB resident", test.peers, resident)
			if got := relay.stop(t); got != test.peers {
				t.Errorf("%d peers were learned, want %d", got, test.peers)
			}
		})
	}
}

// A running is a relay in a process of its own.
type running struct {
	process *exec.Cmd
	log     *bufio.Reader
	addr    *net.UDPAddr
	peers   []*ipv4.PacketConn // by port
}

func startRelay(t *testing.T, program string, flags ...string) *running {
	r := &running{process: exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0"}, flags...)...)}
	r.process.Env = append(os.Environ(), "UDPRELAY_PEERS_MAX_PER_ADDRESS=0", // all peers are on this host
		"UDPRELAY_PEERS_EXPIRY=24h", // however long it takes
		"UDPRELAY_PEERS_JOINS_PER_SECOND=0", "UDPRELAY_PEERS_JOINS_PER_SECOND_PER_ADDRESS=0")
	pipe, err := r.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.process.Process.Kill()
		r.process.Wait()
	})
	r.log = bufio.NewReader(pipe)
	found := r.await(t, `listening address=(\S+)`)
	if r.addr, err = net.ResolveUDPAddr("udp", found[1]); err != nil {
		t.Fatal(err)
	}
	return r
}

// await reads the log up to a line that matches.
func (r *running) await(t *testing.T, pattern string) []string {
	t.Helper()
	for {
		line, err := r.log.ReadString('\n')
		if found := regexp.MustCompile(pattern).FindStringSubmatch(line); found != nil {
			return found
		}
		if err != nil {
			t.Fatalf("the log ended without a match of %q: %v", pattern, err)
		}
	}
}

// portsEach is how many peers are at each of the addresses 127.1.0.0 and up.
const portsEach = 250

// peerAddr is the address of peer i.
func peerAddr(i int) net.IP { return net.IPv4(127, 1, byte(i/portsEach>>8), byte(i/portsEach)) }

// open opens the sockets of the peers, one for each port and all addresses: the
// relay would forget those that are closed. What comes is never read.
func (r *running) open(t *testing.T) {
	for range portsEach {
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		r.peers = append(r.peers, ipv4.NewPacketConn(conn))
	}
}

// write sends a datagram from peer i.
func (r *running) write(t *testing.T, i int, payload []byte) {
	if _, err := r.peers[i%portsEach].WriteTo(payload, &ipv4.ControlMessage{Src: peerAddr(i)}, r.addr); err != nil {
		t.Fatal(err)
	}
}

// join makes so many peers known: each sends a keep-alive.
func (r *running) join(t *testing.T, count int) {
	r.open(t)
	for i := range count {
		r.write(t, i, nil)
		if i%1000 == 999 {
			r.awaitDrained(t)
		}
	}
	r.awaitDrained(t)
}

// say sends datagrams of 1,000 bytes from one of the peers, so that buffers
// are in use.
func (r *running) say(t *testing.T, count int) {
	for i := range count {
		r.write(t, 0, make([]byte, 1000))
		if i%10 == 9 || i == count-1 {
			r.awaitDrained(t)
		}
	}
}

// awaitDrained waits until nothing is left in the relay's receive queue, as
// /proc/net/udp tells.
func (r *running) awaitDrained(t *testing.T) {
	t.Helper()
	queue := regexp.MustCompile(fmt.Sprintf(`0100007F:%04X 00000000:0000 \S+ [0-9A-F]{8}:([0-9A-F]{8})`, r.addr.Port))
	testwait.Until(t, func() bool {
		table, err := os.ReadFile("/proc/net/udp")
		if err != nil {
			t.Fatal(err)
		}
		found := queue.FindSubmatch(table)
		return found != nil && string(found[1]) == "00000000"
	}, "want the relay's receive queue drained")
}

// residentKB returns what the relay has in memory of its own (RssAnon, Linux 4.5): how
// much of the program file is besides is for the kernel to say.
func (r *running) residentKB(t *testing.T) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	resident, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return resident
}

// stop ends the relay and returns how many peers it had learned.
func (r *running) stop(t *testing.T) int {
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	found := r.await(t, `stopped .*learned_peers=(\d+)`)
	io.Copy(io.Discard, r.log)
	if err := r.process.Wait(); err != nil {
		t.Errorf("the relay ended with %v, want exit code 0", err)
	}
	learned, _ := strconv.Atoi(found[1])
	return learned
}
