package daemon

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portOwner names the program that has a UDP socket in the way of one at wanted,
// if this user may know: only root sees the descriptors of others.
func portOwner(wanted netip.AddrPort) string {
	inodes := make(map[string]bool)
	for _, name := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		addInodes(inodes, name, wanted)
	}
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	for _, descriptor := range descriptors {
		target, err := os.Readlink(descriptor)
		if err != nil {
			continue
		}
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket || !inodes[strings.TrimSuffix(inode, "]")] {
			continue
		}
		process := strings.Split(descriptor, "/")[2]
		program, err := os.ReadFile("/proc/" + process + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(program)), process)
	}
	return ""
}

// addInodes adds the inodes of the sockets that a file such as /proc/net/udp
// lists and that wanted cannot be bound beside (proc_net_tcp.rst of the kernel's
// documentation: local_address is the second column, inode the tenth).
func addInodes(inodes map[string]bool, name string, wanted netip.AddrPort) {
	file, err := os.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) <= 9 {
			continue
		}
		if bound, ok := parseLocal(fields[1]); ok && inTheWay(bound, wanted) {
			inodes[fields[9]] = true
		}
	}
}

// inTheWay reports whether two sockets cannot have these addresses: the ports
// are the same, and the addresses, too, or one is every address.
func inTheWay(bound, wanted netip.AddrPort) bool {
	if bound.Port() != wanted.Port() {
		return false
	}
	all := func(addr netip.Addr) bool { return !addr.IsValid() || addr.IsUnspecified() }
	return all(bound.Addr()) || all(wanted.Addr()) || bound.Addr() == wanted.Addr().WithZone("")
}

// parseLocal reads ADDRESS:PORT in hex, the address in words of 32 bits that
// are in the machine's byte order.
func parseLocal(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	words, err := hex.DecodeString(address)
	if err != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	addr, ok := netip.AddrFromSlice(words)
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), ok
}
