package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/testneed"
	"udprelay/peers"
	"udprelay/relay"
)

// A program is one that takes part by its standard input and output.
type program struct {
	in   io.WriteCloser
	out  io.Reader
	done func() error // waits for its end
}

// start starts a program, which is killed when the test ends.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	testneed.Tool(t, name)
	var errors bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &errors
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{in: in, out: out, done: cmd.Wait}
	t.Cleanup(func() {
		in.Close()
		if t.Failed() {
			t.Logf("%s said: %s", name, errors.String())
		}
	})
	return p
}

// says writes frames, and hears fails the test unless these frames come.
func (p *program) says(t *testing.T, frames string) {
	t.Helper()
	if _, err := io.WriteString(p.in, frames); err != nil {
		t.Fatal(err)
	}
}

func (p *program) hears(t *testing.T, frames string) {
	t.Helper()
	got := make([]byte, len(frames))
	if n, err := io.ReadFull(p.out, got); err != nil || string(got) != frames {
		t.Fatalf("want the bytes %q; got %q, %v", frames, got[:n], err)
	}
}

// Programs that know nothing of us, only of TCP or TLS.
func TestForeignClients(t *testing.T) {
	authority := certificatetest.New(t)
	certificate, key := authority.Issue("client", nil)
	for name, c := range map[string]struct {
		by      peers.Transport
		program string
		args    string
	}{
		"socat":     {peers.TCP, "socat", "- TCP:%v"},
		"nc":        {peers.TCP, "nc", "-N 127.0.0.1 %d"},
		"openssl":   {peers.TLS, "openssl", "s_client -quiet -no_ign_eof -verify_return_error -CAfile " + authority.File + " -cert " + certificate + " -key " + key + " -connect %v"},
		"socat TLS": {peers.TLS, "socat", "- OPENSSL:%v,cafile=" + authority.File + ",cert=" + certificate + ",key=" + key + ",commonname=localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			r := openRoom(t, func(_ *relay.Options, o *Options) {
				o.TLS, o.Certificates = here, loadCertificate(t, authority, authority.File)
			})
			u := r.udp()
			at := any(r.addr(c.by))
			if strings.Contains(c.args, "%d") {
				at = r.addr(c.by).Port()
			}
			p := start(t, c.program, strings.Fields(fmt.Sprintf(c.args, at))...)
			r.awaitPeers(2)
			p.says(t, "\x00\x05hello\x00\x00\x00\x03you")
			wants(t, u, "hello", "you")
			u.say("to a program")
			u.say(strings.Repeat("x", 300))
			p.hears(t, "\x00\x0cto a program\x01\x2c"+strings.Repeat("x", 300))
			p.says(t, "\x00\x03end")
			p.in.Close()
			wants(t, u, "end")
			if rest, err := io.ReadAll(p.out); len(rest) > 0 || err != nil {
				t.Errorf("want nothing more; got %q, %v", rest, err)
			}
			if err := p.done(); err != nil {
				t.Errorf("want the program to end well; got %v", err)
			}
			r.awaitEnded(Left, 1)
			r.balance()
			r.wantNoDrops()
		})
	}
}

// One that only listens is a peer until it goes.
func TestForeignListener(t *testing.T) {
	r := openRoom(t, nil)
	u := r.udp()
	p := start(t, "socat", "-u", "TCP:"+r.addr(peers.TCP).String(), "-")
	r.awaitPeers(2)
	p.in.Close()
	for range 3 {
		u.say("news")
		p.hears(t, "\x00\x04news")
	}
	r.gateway.Close()
	if err := p.done(); err != nil {
		t.Errorf("want the program to end well; got %v", err)
	}
	r.balance()
}

// GStreamer has RTP over TCP as RFC 4571 says.
func TestGStreamer(t *testing.T) {
	const packets = 100
	r := openRoom(t, nil)
	witness := r.udp()
	place := fmt.Sprintf("host=127.0.0.1 port=%d", r.addr(peers.TCP).Port())
	listener := start(t, "gst-launch-1.0", strings.Fields("-q tcpclientsrc "+place+
		" ! application/x-rtp-stream,media=audio,clock-rate=44100,encoding-name=L16,channels=1 ! rtpstreamdepay ! rtpL16depay ! fdsink fd=1")...)
	heard := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(listener.out)
		heard <- all
	}()
	r.awaitPeers(2)
	speaker := start(t, "gst-launch-1.0", strings.Fields(fmt.Sprintf("-q audiotestsrc num-buffers=%d samplesperbuffer=441 "+
		"! audio/x-raw,rate=44100,channels=1,format=S16BE ! rtpL16pay mtu=1400 ! rtpstreampay ! tcpclientsink sync=false ", packets)+place)...)
	var sound []byte
	next := uint16(0)
	for n := range packets {
		packet, err := witness.hear()
		if err != nil {
			t.Fatalf("want %d packets of RTP; got %d, %v", packets, n, err)
		}
		if len(packet) != 12+2*441 || packet[0] != 0x80 {
			t.Fatalf("want a packet of RTP with 441 samples; got %q of %d bytes", packet[:1], len(packet))
		}
		number := binary.BigEndian.Uint16([]byte(packet[2:4]))
		if n > 0 && number != next {
			t.Errorf("want packet %d; got %d", next, number)
		}
		next = number + 1
		sound = append(sound, packet[12:]...)
	}
	if err := speaker.done(); err != nil {
		t.Errorf("want the speaker to end well; got %v", err)
	}
	r.awaitRelayed(packets)
	r.balance()
	r.wantNoDrops()
	r.gateway.Close() // which ends the listener
	if got := <-heard; !bytes.Equal(got, sound) {
		t.Errorf("want the listener to hear the %d bytes that were said; got %d", len(sound), len(got))
	}
	if err := listener.done(); err != nil {
		t.Errorf("want the listener to end well; got %v", err)
	}
}
