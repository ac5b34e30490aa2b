package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// destinations runs this program with the standard output and error given and
// returns what it takes them for. THIS in the variable stands for the device
// and inode of stderr.
func destinations(t *testing.T, stdout, stderr *os.File, variable string) (got string) {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(stderr.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	r, w := pipe(t)
	child := exec.Command(os.Args[0])
	child.Env = []string{"GORACE=atexit_sleep_ms=0", destinationVariable + "=1", strings.ReplaceAll(variable, "THIS", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino))}
	child.Stdout, child.Stderr, child.ExtraFiles = stdout, stderr, []*os.File{w}
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	answer, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(answer))
}

// socket returns one end of a connected socket, which is what systemd gives a
// service.
func socket(t *testing.T) *os.File {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	end, other := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	t.Cleanup(func() { end.Close(); other.Close() })
	return end
}

// terminal returns a pseudo terminal.
func terminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return slave
}

func TestTheJournalIsKnownByItsStream(t *testing.T) {
	_, other := pipe(t)
	stream := socket(t)
	person := terminal(t)
	word := func(d Destination) string { return fmt.Sprint(int(d)) }
	for _, c := range []struct {
		name           string
		stdout, stderr *os.File
		variable       string
		want           string
	}{
		{"standard error", other, stream, "JOURNAL_STREAM=THIS", word(File) + " " + word(Journal)},
		{"both", stream, stream, "JOURNAL_STREAM=THIS", word(Journal) + " " + word(Journal)},
		{"not set", other, stream, "X=1", word(File) + " " + word(File)},
		{"another stream", other, stream, "JOURNAL_STREAM=1:1", word(File) + " " + word(File)},
		{"nonsense", other, stream, "JOURNAL_STREAM=journal", word(File) + " " + word(File)},
		{"a terminal", person, stream, "JOURNAL_STREAM=THIS", word(Terminal) + " " + word(Journal)},
		{"a terminal that a service opened", person, person, "JOURNAL_STREAM=1:1", word(Terminal) + " " + word(Terminal)},
	} {
		if got := destinations(t, c.stdout, c.stderr, c.variable); got != c.want {
			t.Errorf("%s: want %s, got %s", c.name, c.want, got)
		}
	}
}

func TestAnythingElseIsAFile(t *testing.T) {
	closed, _ := pipe(t)
	closed.Close()
	for _, w := range []io.Writer{new(bytes.Buffer), closed, (*os.File)(nil), nil} {
		if got := DestinationOf(w); got != File {
			t.Errorf("%T: want a file, got %d", w, got)
		}
	}
}
