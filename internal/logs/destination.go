package logs

import (
	"io"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/term"
)

// A Destination is where lines go to.
type Destination int

// The destinations.
const (
	File     Destination = iota // a file, a pipe, or anything else
	Terminal                    // a person
	Journal                     // the journal of systemd, by way of a service's standard output or error
)

// DestinationOf returns what w is. It is the journal if w is the standard
// output or error and JOURNAL_STREAM names it, with its device and inode: a
// child of a service inherits the variable even if its output goes elsewhere,
// see systemd.exec(5).
func DestinationOf(w io.Writer) Destination {
	file, ok := w.(*os.File)
	if !ok || file == nil {
		return File
	}
	// Not file.Fd(), which can make the file block.
	conn, err := file.SyscallConn()
	if err != nil {
		return File
	}
	to := File
	if err := conn.Control(func(fd uintptr) {
		if term.IsTerminal(int(fd)) {
			to = Terminal
		} else if isJournal(fd) {
			to = Journal
		}
	}); err != nil {
		return File
	}
	return to
}

// isJournal reports whether the journal reads what goes to fd.
func isJournal(fd uintptr) bool {
	is := false
	switch fd { // an error is a variable that systemd did not set
	case 1:
		is, _ = journal.StdoutIsJournalStream()
	case 2:
		is, _ = journal.StderrIsJournalStream()
	}
	return is
}
