package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"udprelay/internal/systemd"
)

const (
	// storedName is how the service manager knows the socket that it keeps.
	storedName = "udprelay-stored"

	// rebindWithin is how long a bind is tried again for whose address the
	// service manager is just giving up, and how often.
	rebindWithin, rebindEvery = 2 * time.Second, 10 * time.Millisecond
)

// openSocket returns the socket for listen, and says in words where it comes
// from if it was not opened here: of those that the service manager has passed,
// one that it listens on itself, or the one that a process before this one had,
// with what waits in it. A new one is given to the service manager to keep.
func openSocket(ctx context.Context, listen string, passed []*os.File, log *slog.Logger) (conn *net.UDPConn, from string, err error) {
	given, stored := sortSockets(passed)
	defer closeAll(given)
	defer closeAll(stored)
	if len(given) > 0 {
		if len(stored) > 0 {
			complain(log, systemd.Unstore(storedName))
		}
		conn, err = activated(given)
		return conn, "the service manager", err
	}
	wanted, err := parseWanted(ctx, listen)
	if err != nil {
		return nil, "", err
	}
	for _, file := range stored {
		if conn := kept(file, wanted); conn != nil {
			return conn, "the process before", nil
		}
	}
	if len(stored) > 0 { // it is for another address than the one of now
		complain(log, systemd.Unstore(storedName))
		closeAll(stored)
	}
	if conn, err = bind(ctx, wanted, len(stored) > 0); err != nil {
		return nil, "", err
	}
	if err := store(conn); err != nil {
		log.Warn("a restart will lose datagrams", "error", err)
	}
	return conn, "", nil
}

// sortSockets tells what the service manager listens on from what it has kept.
func sortSockets(passed []*os.File) (given, stored []*os.File) {
	for _, file := range passed {
		if file.Name() == storedName {
			stored = append(stored, file)
		} else {
			given = append(given, file)
		}
	}
	return given, stored
}

func closeAll(files []*os.File) {
	for _, file := range files {
		file.Close() // a second time does no harm
	}
}

// activated returns the one socket that a socket unit listens on.
func activated(given []*os.File) (*net.UDPConn, error) {
	if len(given) > 1 {
		return nil, &ActivationError{fmt.Sprintf("%d sockets", len(given))}
	}
	packets, err := net.FilePacketConn(given[0])
	if conn, ok := packets.(*net.UDPConn); ok && err == nil {
		return conn, nil
	}
	if packets != nil {
		packets.Close()
	}
	return nil, &ActivationError{"a socket that is not UDP"}
}

// An ActivationError is a socket unit that does not fit.
type ActivationError struct{ What string }

func (e *ActivationError) Error() string {
	return "the service manager has passed " + e.What + "; want one of UDP"
}

// ExitCode is EX_CONFIG of sysexits.h.
func (e *ActivationError) ExitCode() int { return 78 }

// Hint returns a way out.
func (e *ActivationError) Hint() string {
	return "the socket unit wants one line ListenDatagram=, such as ListenDatagram=9000"
}

// kept returns the socket in file if it is bound as wanted, or nil.
func kept(file *os.File, wanted wanted) *net.UDPConn {
	packets, err := net.FilePacketConn(file)
	if err != nil {
		return nil
	}
	conn, ok := packets.(*net.UDPConn)
	if !ok || !wanted.fits(conn.LocalAddr().(*net.UDPAddr).AddrPort()) {
		packets.Close()
		return nil
	}
	return conn
}

// fits reports whether a socket that is bound to addr is the one that bind
// would open.
func (w wanted) fits(addr netip.AddrPort) bool {
	bound := addr.Addr().Unmap()
	switch {
	case w.port != 0 && addr.Port() != w.port:
		return false
	case w.addr.IsValid() && !(w.addr.IsUnspecified() && w.addr.Is6()):
		return bound == w.addr
	}
	return bound.IsUnspecified() && (bound.Is6() || !hasIPv6())
}

// hasIPv6 reports whether this host can have sockets of IPv6.
func hasIPv6() bool {
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// bind opens the socket. If its address is being given up it waits for that.
func bind(ctx context.Context, wanted wanted, beingGivenUp bool) (*net.UDPConn, error) {
	for deadline := time.Now().Add(rebindWithin); ; {
		conn, err := wanted.listen()
		if err == nil || !beingGivenUp || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rebindEvery):
		}
	}
}

// store gives a copy of the socket to the service manager.
func store(conn *net.UDPConn) error {
	file, err := conn.File()
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = systemd.Store(storedName, file)
	return err
}

// complain logs that the service manager could not be told something.
func complain(log *slog.Logger, err error) {
	if err != nil {
		log.Warn("the service manager does not listen", "error", err)
	}
}
