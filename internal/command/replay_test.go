//go:build unix

package command

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/client/relaytest"
)

// runReplay runs udprelay replay.
func runReplay(stdin []byte, args ...string) (code int, stderr string) {
	var out, said bytes.Buffer
	world := World{Stdin: bytes.NewReader(stdin), Stdout: &out, Stderr: &said}
	app := newApp(world)
	if app.Command("replay") == nil {
		command := replayCommand(world)
		command.OnUsageError, command.HideHelpCommand = usageError, true
		app.Commands = append(app.Commands, command)
	}
	err := app.Run(append([]string{"udprelay", "replay"}, args...))
	code = report(&said, err)
	return code, said.String() + out.String()
}

// capturedDatagrams is a pcap file of raw IPv4 packets from port 1000 to 2000.
func capturedDatagrams(payloads ...string) []byte {
	order := binary.LittleEndian
	file := order.AppendUint32(nil, 0xa1b2c3d4)
	file = append(file, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0)
	for _, p := range payloads {
		length := 28 + len(p)
		file = append(file, make([]byte, 8)...)
		file = order.AppendUint32(file, uint32(length))
		file = order.AppendUint32(file, uint32(length))
		file = append(file, 0x45, 0, byte(length>>8), byte(length), 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
		file = append(file, 1000>>8, 1000&0xff, 2000>>8, 2000&0xff, byte((length-20)>>8), byte(length-20), 0, 0)
		file = append(file, p...)
	}
	return file
}

func captureFile(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "trace.pcap")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReplayToARelay(t *testing.T) {
	file := capturedDatagrams("one", "two", "three")
	for name, test := range map[string]struct {
		args []string
		want []string
		said string
	}{
		"as it is":     {nil, []string{"", "one", "two", "three"}, "sent 3 datagrams (11 bytes)"},
		"plain":        {[]string{"--plain"}, []string{"one", "two", "three"}, "sent 3 datagrams (11 bytes)"},
		"count, loops": {[]string{"--plain", "--loop", "0", "--count", "4", "--speed", "max"}, []string{"one", "two", "three", "one"}, "sent 4 datagrams"},
		"ports":        {[]string{"--plain", "--port", "2000", "--source-port", "1000,7"}, []string{"one", "two", "three"}, "sent 3"},
	} {
		relay := relaytest.Start(t)
		code, said := runReplay(nil, append(test.args, captureFile(t, file), relay.Addr)...)
		if code != 0 || !strings.HasPrefix(said, "udprelay: "+test.said) {
			t.Errorf("%s: want code 0 and %q, got %d and %q", name, test.said, code, said)
		}
		for _, want := range test.want {
			if got := relay.Next(t).Payload; got != want {
				t.Errorf("%s: want %q, got %q", name, want, got)
			}
		}
	}
}

func TestReplayOfStandardInput(t *testing.T) {
	relay := relaytest.Start(t)
	if code, said := runReplay(capturedDatagrams("x"), "-", relay.Addr); code != 0 || !strings.Contains(said, "sent 1 datagrams") {
		t.Errorf("want one sent, got %d, %q", code, said)
	}
	if got := relay.NextPayload(t); got != "x" {
		t.Errorf("want x, got %q", got)
	}
}

// A FIFO that nobody writes to, or that is silent, does not keep a replay from
// being stopped.
func TestReplayOfAFIFOIsStopped(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() {
		_, _, err := openInput(ctx, name)
		stopped <- err
	}()
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("no writer: want %v, got %v", context.Canceled, err)
	}
	writer, err := os.OpenFile(name, os.O_RDWR, 0) // also has whoever still opens it go on
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel = context.WithCancel(context.Background())
	file, info, err := openInput(ctx, name)
	if err != nil || info.Mode().IsRegular() {
		t.Fatalf("want a FIFO, got %v, %v", info, err)
	}
	go func() {
		_, err := file.Read(make([]byte, 1))
		stopped <- err
	}()
	cancel()
	if err := <-stopped; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a silent writer: want %v, got %v", os.ErrClosed, err)
	}
}

func TestReplayShowsProgressOnATerminal(t *testing.T) {
	keyboard, terminal := relaytest.Terminal(t)
	relay := relaytest.Start(t)
	world := World{Stdin: bytes.NewReader(nil), Stdout: terminal, Stderr: terminal}
	app := newApp(world)
	app.Commands = []*cli.Command{replayCommand(world)}
	if err := app.Run([]string{"udprelay", "replay", "--plain", captureFile(t, capturedDatagrams("one", "two")), relay.Addr}); err != nil {
		t.Fatal(err)
	}
	_ = keyboard.SetReadDeadline(time.Now().Add(relaytest.Patience))
	var screen strings.Builder
	for buf := make([]byte, 1024); !strings.Contains(screen.String(), "(6 bytes)"); {
		n, err := keyboard.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, screen.String())
		}
		screen.Write(buf[:n])
	}
	bar, end, found := strings.Cut(screen.String(), "\r\x1b[Kudprelay: ")
	if !found || !strings.Contains(bar, "trace.pcap, 1 sent") || !strings.HasPrefix(end, "sent 2 datagrams") {
		t.Errorf("want a bar, taken away, and the summary, got %q", screen.String())
	}
}

func TestReplayThatFails(t *testing.T) {
	defer func(before time.Duration) { replayLinger = before }(replayLinger)
	replayLinger = 2 * time.Second // a slow machine takes a while to say that nothing listens
	relay := relaytest.Start(t)
	good := captureFile(t, capturedDatagrams("x"))
	missing := filepath.Join(t.TempDir(), "none.pcap")
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no file":         {nil, 64, "no file is named"},
		"no target":       {[]string{good}, 64, "no relay is named"},
		"a late flag":     {[]string{good, relay.Addr, "--plain"}, 64, "flags go before FILE"},
		"no port":         {[]string{good, "localhost"}, 64, "the port is missing"},
		"speed":           {[]string{"--speed", "fast", good, relay.Addr}, 64, "--speed fast: want a factor"},
		"negative speed":  {[]string{"--speed=-1", good, relay.Addr}, 64, "--speed -1"},
		"stdin, twice":    {[]string{"--loop", "2", "-", relay.Addr}, 64, "standard input can be played only once"},
		"a port":          {[]string{"--port", "70000", good, relay.Addr}, 64, "--port 70000"},
		"a secret, plain": {[]string{"--plain", "--secret-file", "x", good, relay.Addr}, 64, "no meaning with --plain"},
		"missing":         {[]string{missing, relay.Addr}, 66, missing},
		"a directory":     {[]string{t.TempDir(), relay.Addr}, 66, "directory"},
		"text":            {[]string{captureFile(t, []byte("hello")), relay.Addr}, 65, "neither a pcap nor a pcapng file"},
		"cut":             {[]string{captureFile(t, capturedDatagrams("x", "y")[:90]), relay.Addr}, 65, "packet 2, at byte 69: the file ends in the middle of it"},
		"nothing":         {[]string{"--port", "1", good, relay.Addr}, 65, "no UDP datagram to send"},
		"refused":         {[]string{"--plain", good, relaytest.FreeAddr(t)}, 69, "nothing listens there"},
	} {
		if code, said := runReplay(nil, test.args...); code != test.code || !strings.Contains(said, test.want) {
			t.Errorf("%s: want code %d and %q, got %d and %q", name, test.code, test.want, code, said)
		}
	}
}
