package systemd

import (
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready says that the daemon does its work, or that a reload is over.
func Ready(status string) error { return notify(daemon.SdNotifyReady, statusLine(status)) }

// Status says in a line what the daemon does; systemctl status shows it.
func Status(status string) error { return notify(statusLine(status)) }

// Reloading says that the configuration is being read again. [Ready] ends it.
// The time belongs to Type=notify-reload (systemd 253).
func Reloading() error {
	return notify(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// Stopping says that the daemon is about to end.
func Stopping() error { return notify(daemon.SdNotifyStopping, statusLine("stopping")) }

// Alive feeds the watchdog.
func Alive() error { return notify(daemon.SdNotifyWatchdog) }

// WatchdogInterval returns the time within which [Alive] has to be called again
// and again (WatchdogSec=); 0: nobody waits for it.
func WatchdogInterval() (time.Duration, error) { return daemon.SdWatchdogEnabled(false) }

// Sockets returns the descriptors that the service manager has passed, with
// their names (FileDescriptorName=, or as they were stored). They belong to the
// caller. A second call returns none.
func Sockets() []*os.File { return activation.Files(true) }

// Store has the service manager keep a copy of the descriptor under a name
// until the service is stopped, and pass it to the process that it starts next
// (FileDescriptorStoreMax=). It reports whether there is a service manager to
// keep it; whether it does, it does not say.
//
// Without FDPOLL=0 (systemd 246) the manager would drop a UDP socket at the
// first ICMP error that arrives for it.
func Store(name string, file *os.File) (bool, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return false, err
	}
	var sent bool
	var failed error
	if err := raw.Control(func(fd uintptr) {
		sent, failed = send("FDSTORE=1\nFDNAME="+name+"\nFDPOLL=0", int(fd))
	}); err != nil {
		return false, err
	}
	return sent, failed
}

// Unstore has the service manager close what it keeps under a name.
func Unstore(name string) error { return notify("FDSTOREREMOVE=1", "FDNAME="+name) }

// statusLine returns the assignment for a status, which is one line.
func statusLine(status string) string {
	return "STATUS=" + strings.ReplaceAll(status, "\n", " ")
}

func notify(assignments ...string) error {
	_, err := send(strings.Join(assignments, "\n"))
	return err
}
