package client

import (
	"encoding/binary"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// reportErrors returns a conn of socket that also fails when a host or a network
// cannot be reached. Without this Linux reports only closed ports.
func reportErrors(socket *net.UDPConn) conn {
	raw, err := socket.SyscallConn()
	if err != nil {
		return socket // it is closed
	}
	level, option := unix.SOL_IP, unix.IP_RECVERR
	if addrPort(socket.RemoteAddr()).Addr().Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), level, option, 1) })
	return &errorSocket{socket, raw}
}

// An errorSocket empties its queue of errors, which takes room from what it
// receives.
type errorSocket struct {
	*net.UDPConn
	raw syscall.RawConn
}

func (s *errorSocket) Read(datagram []byte) (int, error) {
	n, err := s.UDPConn.Read(datagram)
	if err != nil {
		s.drain()
	}
	return n, err
}

func (s *errorSocket) Write(datagram []byte) (int, error) {
	n, err := s.UDPConn.Write(datagram)
	if err != nil && s.drain() {
		err = lateError{err}
	}
	return n, err
}

// drain empties the queue of errors, and reports whether any came by ICMP.
func (s *errorSocket) drain() (icmp bool) {
	_ = s.raw.Control(func(fd uintptr) {
		var control [512]byte
		for {
			_, n, _, _, err := unix.Recvmsg(int(fd), nil, control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			icmp = icmp || isICMP(control[:n])
		}
	})
	return icmp
}

// isICMP reports whether control messages have an error that came by ICMP.
func isICMP(control []byte) bool {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		// struct sock_extended_err: ee_errno has four bytes, ee_origin one.
		if (v4 || v6) && len(m.Data) >= 8 && (m.Data[4] == unix.SO_EE_ORIGIN_ICMP || m.Data[4] == unix.SO_EE_ORIGIN_ICMP6) &&
			syscall.Errno(binary.NativeEndian.Uint32(m.Data)) != unix.EMSGSIZE {
			return true
		}
	}
	return false
}
