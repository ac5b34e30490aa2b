package capture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
	"udprelay/relay"
)

// patience is how long a test waits for what must come.
const patience = testwait.Patience

var (
	relay4  = netip.MustParseAddrPort("192.0.2.1:9000")
	relay6  = netip.MustParseAddrPort("[2001:db8::1]:9000")
	origin4 = netip.MustParseAddrPort("198.51.100.7:40000")
	origin6 = netip.MustParseAddrPort("[2001:db8::7]:40000")
)

// await waits until ok holds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testwait.Until(t, ok, what+": not so")
}

func newRecorder(t testing.TB, options Options) *Recorder {
	t.Helper()
	r, err := NewRecorder(options)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// drained lets r take no more and returns what it has recorded.
func drained(t testing.TB, r *Recorder) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var file bytes.Buffer
	if err := r.Stream(ctx, &file); err != nil {
		t.Fatalf("stream: %v", err)
	}
	return file.Bytes()
}

// from returns a batch of datagrams of one origin.
func from(origin netip.AddrPort, payloads ...string) (batch []relay.Datagram) {
	for _, p := range payloads {
		batch = append(batch, relay.Datagram{Payload: []byte(p), From: origin})
	}
	return batch
}

// save writes data to a file and returns its name.
func save(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "recording.pcapng")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// tshark reads file with the options, and returns its lines.
func tshark(t testing.TB, file string, options ...string) []string {
	t.Helper()
	testneed.Tool(t, "tshark")
	cmd := exec.Command("tshark", append([]string{"-n", "-r", file}, options...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// played reads the payloads of a recording as the player does.
func played(t testing.TB, name string, file io.Reader) (payloads []string) {
	t.Helper()
	r, err := newReader(name, file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		f, err := r.next()
		if err == io.EOF {
			return payloads
		}
		if err != nil {
			t.Fatal(err)
		}
		d, skip := decode(f)
		if skip != kept {
			t.Fatalf("packet %d of %s is skipped: %v", r.number, name, skip)
		}
		payloads = append(payloads, string(d.payload))
	}
}

// numbered returns n payloads that can be told apart, of sizes that differ.
func numbered(n int) (payloads []string) {
	for i := range n {
		payloads = append(payloads, fmt.Sprintf("%05d", i)+strings.Repeat("x", i*7%300))
	}
	return payloads
}

// A memory is a Sender that keeps what it is sent, and when.
type memory struct {
	mu     sync.Mutex
	sent   []string
	at     []time.Time
	fail   error
	closed chan struct{}
}

func newMemory() *memory { return &memory{closed: make(chan struct{})} }

func (m *memory) Send(p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.sent = append(m.sent, string(p))
	m.at = append(m.at, time.Now())
	return nil
}

func (m *memory) Receive([]byte) (int, error) {
	<-m.closed
	return 0, io.EOF
}

func (m *memory) Close() error {
	close(m.closed)
	return nil
}

// playerOf plays data to m, as fast as can be, once.
func playerOf(data []byte, m *memory) *Player {
	return &Player{
		Name:   "test.pcapng",
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		Dial:   func(context.Context) (Sender, error) { return m, nil },
		Passes: 1,
	}
}
