package daemon

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// portOwner names the program that has a UDP socket on port, if this user may
// know: only root sees the descriptors of others.
func portOwner(port uint16) string {
	inodes := make(map[string]bool)
	for _, name := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		addInodes(inodes, name, port)
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

// addInodes adds the inodes of the sockets on port that a file such as
// /proc/net/udp lists (proc_net_udp, Documentation/networking/proc_net_tcp.rst
// of the kernel: local_address is the second column, inode the tenth).
func addInodes(inodes map[string]bool, name string, port uint16) {
	file, err := os.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && strings.HasSuffix(fields[1], suffix) {
			inodes[fields[9]] = true
		}
	}
}
