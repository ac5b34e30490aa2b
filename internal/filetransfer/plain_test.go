package filetransfer

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

func say(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// hear makes sure that one read brings want, as plain programs read.
func hear(t testing.TB, c net.Conn, want string) {
	t.Helper()
	buffer := make([]byte, 1024)
	n, err := c.Read(buffer)
	if err != nil || string(buffer[:n]) != want {
		t.Fatalf("want %q, got %q, %v", want, buffer[:n], err)
	}
}

// hearAll returns what comes until the other side closes, and closes, too.
func hearAll(t testing.TB, c net.Conn) string {
	t.Helper()
	said, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return string(said)
}

// A sender as tutorials have it: the name, one read that has to be ok and
// nothing else, the bytes, close.
func TestTutorialSender(t *testing.T) {
	p := receiving(t, t.TempDir(), nil)
	for name, halfCloses := range map[string]bool{"half.txt": true, "whole.txt": false, "empty": false} {
		c := dial(t, p.address)
		say(t, c, name)
		hear(t, c, "ok")
		content := strings.TrimPrefix("the bytes of "+name, "the bytes of empty")
		say(t, c, content)
		if halfCloses {
			c.CloseWrite()
			if said := parseAnswer(hearAll(t, c)); !said.received || said.count != int64(len(content)) {
				t.Errorf("want the count, got %+v", said)
			}
		}
		c.Close()
		if e := p.next(t); e.err != nil || e.Name != name || e.Checked {
			t.Errorf("%s: want it received and not checked, got %+v", name, e)
		}
	}
	p.wants(t, map[string][]byte{"half.txt": []byte("the bytes of half.txt"), "whole.txt": []byte("the bytes of whole.txt"), "empty": {}})
}

// A sender that breaks off says RST, and nothing of it stays.
func TestABrokenSenderLeavesNothing(t *testing.T) {
	p := receiving(t, t.TempDir(), nil)
	for _, said := range []string{"x", "x\n", "x\nbytes", "x\n" + string(noise(3*blockSize))} {
		c := dial(t, p.address)
		say(t, c, said)
		hear(t, c, map[bool]string{true: "ok\n", false: "ok"}[len(said) > 1])
		c.SetLinger(0)
		c.Close()
		as[*BrokenError](t, p.next(t).err)
	}
	p.wants(t, nil)
}

// tutorialReceiver accepts one connection and hands it to serve.
func tutorialReceiver(t *testing.T, serve func(*net.TCPConn) error) (address string, done <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	ended := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(testwait.Patience))
			err = serve(c.(*net.TCPConn))
		}
		ended <- err
	}()
	return listener.Addr().String(), ended
}

// A receiver as tutorials have it: one read is the name, ok, the bytes to the
// end. It gets the bare name and the bytes, nothing more; that it has them
// cannot be verified.
func TestTutorialReceiver(t *testing.T) {
	for answered, said := range map[string]string{"ok": "", "ok\n": "thank you\n"} {
		content := noise(3*blockSize + 5)
		var name, got []byte
		address, done := tutorialReceiver(t, func(c *net.TCPConn) error {
			name = make([]byte, 1024)
			n, err := c.Read(name)
			if err != nil {
				return err
			}
			name = name[:n]
			if _, err = io.WriteString(c, answered); err != nil {
				return err
			}
			if got, err = io.ReadAll(c); err != nil {
				return err
			}
			_, err = io.WriteString(c, said)
			return err
		})
		sender := Sender{Address: address}
		sent, err := sender.Send(t.Context(), file(t, "two words.txt", content), "")
		if err != nil || sent.Verified || sent.Said != strings.TrimSpace(said) {
			t.Errorf("want it sent, not verified, and %q, got %+v, %v", said, sent, err)
		}
		if err := <-done; err != nil || string(name) != "two words.txt" || string(got) != string(content) {
			t.Errorf("want name and content, got %q, %d bytes, %v", name, len(got), err)
		}
	}
}

// A plain receiver that fails is an error of its own kind.
func TestReceiversThatFail(t *testing.T) {
	for name, test := range map[string]struct {
		serve func(*net.TCPConn) error
		want  string
	}{
		"says no":       {func(c *net.TCPConn) error { _, err := io.WriteString(c, "No, thanks.\n"); return err }, `"No, thanks.", not ok`},
		"says an error": {func(c *net.TCPConn) error { _, err := io.WriteString(c, "error: full\n"); return err }, "full"},
		"says nothing":  {func(c *net.TCPConn) error { return nil }, "does not answer to the name"},
		"is silent":     {func(c *net.TCPConn) error { _, err := io.ReadAll(c); return ignoreReset(err) }, ErrSilent.Error()},
		"resets":        {func(c *net.TCPConn) error { return c.SetLinger(0) }, "the connection broke"},
		"resets, late":  {resetLate, "broke off"},
		"says a lie":    {func(c *net.TCPConn) error { return answerWith(c, answer{received: true, count: 1}.String()) }, "got something else"},
		"fails at last": {func(c *net.TCPConn) error { return answerWith(c, "error: full\n") }, "full"},
	} {
		address, done := tutorialReceiver(t, func(c *net.TCPConn) error {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return err
			}
			return test.serve(c)
		})
		sender := Sender{Address: address}
		if test.want == ErrSilent.Error() {
			sender.Timeout = 300 * time.Millisecond
		}
		_, err := sender.Send(t.Context(), file(t, "x", noise(1000)), "")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: want an error with %q, got %v", name, test.want, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ignoreReset(err error) error {
	if errors.As(err, new(*net.OpError)) {
		return nil
	}
	return err
}

func resetLate(c *net.TCPConn) error {
	if _, err := io.WriteString(c, "ok"); err != nil {
		return err
	}
	_, err := io.ReadAll(c)
	return errors.Join(err, c.SetLinger(0))
}

func answerWith(c *net.TCPConn, last string) error {
	if _, err := io.WriteString(c, "ok"); err != nil {
		return err
	}
	if _, err := io.ReadAll(c); err != nil {
		return err
	}
	_, err := io.WriteString(c, last)
	return err
}

// A receiver that knows only the plain way and is told the checked one cannot
// take it for a file.
func TestCheckedWantsOurs(t *testing.T) {
	address, done := tutorialReceiver(t, func(c *net.TCPConn) error {
		name := make([]byte, 1024)
		n, err := c.Read(name)
		if err != nil {
			return err
		}
		if _, err := os.Create(filepath.Join(t.TempDir(), string(name[:n]))); err == nil {
			return errors.New("a file was made")
		}
		return nil
	})
	sender := Sender{Address: address, Checked: true}
	_, err := sender.Send(t.Context(), file(t, "x", nil), "")
	as[*NetworkError](t, err)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSourcesThatCannotBeSent(t *testing.T) {
	sender := Sender{Address: "127.0.0.1:1"}
	directory := t.TempDir()
	for path, want := range map[string]error{directory: ErrDirectory, os.DevNull: ErrNotRegular, filepath.Join(directory, "none"): os.ErrNotExist} {
		_, err := sender.Send(t.Context(), path, "")
		if as[*SourceError](t, err); !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v", path, want, err)
		}
	}
	_, err := sender.Send(t.Context(), file(t, "x", nil), "")
	as[*NetworkError](t, err)
}

// A file that changes while it is sent is no file, in both ways and both
// directions.
func TestChangingFiles(t *testing.T) {
	for _, checked := range []bool{false, true} {
		for name, change := range map[string]func(*os.File) error{
			"grows":   func(f *os.File) error { _, err := f.WriteAt([]byte("more"), 4<<20); return err },
			"shrinks": func(f *os.File) error { return f.Truncate(1 << 20) },
			"changes": func(f *os.File) error { _, err := f.WriteAt([]byte("other"), 0); return err },
		} {
			p := receiving(t, t.TempDir(), nil)
			path := file(t, "x", noise(4<<20))
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
			changed := false
			sender := Sender{Address: p.address, Checked: checked, Progress: func(int64, int64) {
				if !changed {
					changed = true
					f, err := os.OpenFile(path, os.O_RDWR, 0)
					if err == nil {
						err = errors.Join(change(f), f.Close())
					}
					if err != nil {
						t.Error(err)
					}
				}
			}}
			if _, err := sender.Send(t.Context(), path, ""); !errors.Is(err, ErrChanged) {
				t.Errorf("%s: got %v", name, err)
			}
			as[*BrokenError](t, p.next(t).err)
			p.wants(t, nil)
		}
	}
}
