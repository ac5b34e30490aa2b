package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// Wanted is what a socket is to be bound to.
type wanted struct {
	text string     // as configured
	addr netip.Addr // not valid: every one
	port uint16
}

// parseWanted returns what host:port stands for. It looks a name up.
func parseWanted(ctx context.Context, address string) (wanted, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return wanted{}, &BindError{Address: address, Err: err}
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return wanted{}, &BindError{Address: address, Err: err}
	}
	addr, err := bindAddr(ctx, host)
	if err != nil {
		return wanted{}, &BindError{Address: address, Err: err}
	}
	return wanted{address, addr, uint16(port)}, nil
}

// listen opens the socket.
func (w wanted) listen() (*net.UDPConn, error) {
	// The network says which families the socket has: of 0.0.0.0 and [::] as
	// of no host at all Go would make one of both.
	network := "udp"
	switch {
	case w.addr.Is4():
		network = "udp4"
	case w.addr.IsValid() && !w.addr.IsUnspecified():
		network = "udp6"
	}
	addr := netip.AddrPortFrom(w.addr, w.port)
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		failure := &BindError{Address: w.text, Err: reason(err)}
		if errors.Is(err, syscall.EADDRINUSE) {
			failure.Owner = portOwner(addr)
		}
		return nil, failure
	}
	return conn, nil
}

// bindAddr returns the address that host stands for; the zero Addr: every one.
func bindAddr(ctx context.Context, host string) (netip.Addr, error) {
	if host == "" {
		return netip.Addr{}, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap(), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	return addrs[0].Unmap(), nil
}

// reason returns the last of a chain of errors, for the others say again what
// the message says already.
func reason(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// A BindError is an address that cannot be listened on.
type BindError struct {
	Address string // as configured
	Err     error
	Owner   string // the program that has the port, if it is known
}

func (e *BindError) Error() string {
	text := fmt.Sprintf("cannot listen on %s: %v", e.Address, e.Err)
	if e.Owner != "" {
		text += " by " + e.Owner
	}
	return text
}

func (e *BindError) Unwrap() error { return e.Err }

// ExitCode is EX_UNAVAILABLE of sysexits.h.
func (e *BindError) ExitCode() int { return 69 }

// Hint returns a way out.
func (e *BindError) Hint() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return "stop that program, or choose another port, such as --listen :9001"
	case errors.Is(e.Err, syscall.EACCES):
		return "ports below 1024 are for the privileged: grant CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose a higher port, such as --listen :9000"
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return "this host has no such address, or not yet: leave the host out to listen on every one, or allow it with sysctl net.ipv4.ip_nonlocal_bind=1 (net.ipv6 alike); a socket unit has FreeBind=yes"
	case errors.Is(e.Err, syscall.EAFNOSUPPORT):
		return "this system has no such address family; leave the host out to listen on what there is"
	}
	return ""
}
