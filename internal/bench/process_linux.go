package bench

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processTime returns how long the threads of a process have run: schedstat of
// each or, where the kernel keeps none or threads have ended, the ticks of stat,
// which are rounded down and have all.
func processTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return ticks(pid)
	}
	total := time.Duration(0)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		total += time.Duration(n)
	}
	if all, err := ticks(pid); err == nil {
		total = max(total, all)
	}
	return total, nil
}

func ticks(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, bare(err))
	}
	const perSecond = 100 // USER_HZ
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("process %d: cannot read /proc/%d/stat", pid, pid)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / perSecond, errors.Join(err1, err2)
}

// ProcessorTime returns how long a process on this machine has run so far.
func ProcessorTime(pid int) (time.Duration, error) { return processTime(pid) }

// Resident returns the bytes of memory that a process on this machine has.
func Resident(pid int) (uint64, error) {
	now, _, err := memoryOf(pid)
	return now, err
}

var memoryLine = regexp.MustCompile(`(?m)^Vm(RSS|HWM):\s+(\d+) kB$`)

// memoryOf returns what a process has resident, and the most it ever had.
func memoryOf(pid int) (now, most uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: %w", pid, bare(err))
	}
	for _, found := range memoryLine.FindAllSubmatch(text, -1) {
		kilobytes, err := strconv.ParseUint(string(found[2]), 10, 53)
		if err != nil {
			return 0, 0, err
		}
		if string(found[1]) == "RSS" {
			now = kilobytes << 10
		} else {
			most = kilobytes << 10
		}
	}
	return now, most, nil
}

// queueDrops returns how many datagrams the sockets of the relay have dropped,
// as the table of its network namespace says. False: it is not there.
func queueDrops(pid int, relay netip.AddrPort) (drops uint64, ok bool) {
	// The kernel may pass over a socket while others come and go, so look again.
	for try := 0; try < 5 && !ok; try++ {
		drops, ok = lookForDrops(pid, relay)
	}
	return drops, ok
}

func lookForDrops(pid int, relay netip.AddrPort) (drops uint64, ok bool) {
	for _, table := range []string{"udp", "udp6"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 13 || !isOf(fields[1], fields[2], relay) {
				continue
			}
			if n, err := strconv.ParseUint(fields[12], 10, 64); err == nil {
				drops, ok = drops+n, true
			}
		}
		file.Close()
	}
	return drops, ok
}

// isOf reports whether a socket at local, as the table has it, that is not
// connected receives what is sent to relay.
func isOf(local, remote string, relay netip.AddrPort) bool {
	host, port, _ := strings.Cut(local, ":")
	if port != fmt.Sprintf("%04X", relay.Port()) || !strings.HasSuffix(remote, ":0000") {
		return false
	}
	if strings.Trim(host, "0") == "" {
		return true
	}
	raw, want := []byte(nil), relay.Addr().AsSlice()
	for len(host) >= 8 {
		word, err := strconv.ParseUint(host[:8], 16, 32)
		if err != nil {
			return false
		}
		raw, host = binary.NativeEndian.AppendUint32(raw, uint32(word)), host[8:]
	}
	addr, ok := netip.AddrFromSlice(raw)
	return ok && bytes.Equal(addr.Unmap().AsSlice(), want)
}

// ownTime returns the processor time of this process.
func ownTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // cannot fail
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// bare returns the system's own error in err.
func bare(err error) error {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// A meter measures processes.
type meter struct {
	config *Config
	own    time.Duration
	relay  time.Duration
	drops  uint64
	known  bool // drops is
}

func newMeter(c *Config) (*meter, error) {
	m := &meter{config: c, own: ownTime()}
	if c.PID == 0 {
		return m, nil
	}
	var err error
	if m.relay, err = processTime(c.PID); err != nil {
		return nil, err
	}
	m.drops, m.known = queueDrops(c.PID, c.Relay)
	return m, nil
}

// read adds what it has measured. A relay that has ended is no failure here.
func (m *meter) read(result *Result) {
	result.Generator.BenchSeconds = (ownTime() - m.own).Seconds()
	if m.config.PID == 0 {
		return
	}
	ran, err := processTime(m.config.PID)
	now, most, err2 := memoryOf(m.config.PID)
	if err != nil || err2 != nil || most == 0 {
		result.Notes = append(result.Notes, "the relay has ended meanwhile")
		return
	}
	p := &Process{PID: m.config.PID, ProcessorSeconds: (ran - m.relay).Seconds(), Resident: now, MostResident: most}
	if result.Delivered > 0 {
		p.PerDelivery = float64(ran-m.relay) / float64(result.Delivered)
	}
	if drops, ok := queueDrops(m.config.PID, m.config.Relay); ok && m.known {
		drops -= m.drops
		p.QueueDrops = &drops
	}
	result.Process = p
}
