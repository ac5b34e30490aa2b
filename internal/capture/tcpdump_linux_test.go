package capture

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/testneed"
)

// TestTcpdumpsFilesPlay captures on the loopback interface, as Ethernet, and on
// "any", which is Linux cooked.
func TestTcpdumpsFilesPlay(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "tcpdump")
	for _, options := range [][]string{{"-i", "lo"}, {"-i", "lo", "--nano"}, {"-i", "any"}, {"-i", "any", "-y", "LINUX_SLL"}} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			for _, host := range []string{"127.0.0.1", "::1"} {
				conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				port := conn.LocalAddr().(*net.UDPAddr).Port
				name := filepath.Join(t.TempDir(), "tcpdump.pcap")
				stop := startTcpdump(t, append(options, "-w", name, fmt.Sprintf("udp dst port %d", port))...)

				payloads := append(numbered(20), "", "last")
				sender, err := net.DialUDP("udp", nil, conn.LocalAddr().(*net.UDPAddr))
				if err != nil {
					t.Fatal(err)
				}
				defer sender.Close()
				for _, p := range payloads {
					if _, err := sender.Write([]byte(p)); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "the last datagram in the file", func() bool {
					data, _ := os.ReadFile(name)
					return bytes.HasSuffix(data, []byte("last"))
				})
				stop()
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				m := newMemory()
				p := playerOf(data, m)
				p.ToPorts = []uint16{uint16(port)}
				got, err := p.Play(t.Context())
				if err != nil {
					t.Fatalf("%+v, %v", got, err)
				}
				if !slices.Equal(m.sent, payloads) {
					t.Errorf("want the %d payloads, got %d: %q", len(payloads), len(m.sent), m.sent)
				}
			}
		})
	}
}

// startTcpdump captures until the function that it returns is called. The kernel
// keeps 2 MiB for it, which is 8 packets of the snapshot length that it has
// unless it is told.
func startTcpdump(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command("tcpdump", append([]string{"-U", "--immediate-mode", "-s", "2048", "-n", "-Z", "root"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	listening := false
	for !listening && lines.Scan() {
		listening = strings.Contains(lines.Text(), "listening on")
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		for lines.Scan() {
		}
		_ = cmd.Wait()
		killer.Stop()
	}
	if !listening {
		stop()
		t.Fatal("tcpdump does not listen")
	}
	return stop
}
