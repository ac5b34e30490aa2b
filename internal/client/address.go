package client

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// An AddressError is an address that is not HOST:PORT.
type AddressError struct {
	Address string
	Problem string
	Want    string // the same host with a port that would do
}

func (e *AddressError) Error() string { return fmt.Sprintf("address %q: %s", e.Address, e.Problem) }

// CheckAddress returns an *AddressError unless address is HOST:PORT: a name, an
// IPv4 address or a bracketed IPv6 address, with a zone or without, and a port
// from 1 to 65535. It resolves nothing.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	problem := ""
	switch reason := (*net.AddrError)(nil); {
	case errors.As(err, &reason) && strings.Count(address, ":") > 1 && !strings.HasPrefix(address, "["):
		host, problem = address, "an IPv6 address goes in brackets, and a port after them"
	case errors.As(err, &reason) && reason.Err == "missing port in address":
		host, problem = strings.Trim(address, "[]"), "the port is missing"
	case err != nil:
		host, problem = "", "cannot be understood"
	case host == "":
		problem = "the host is missing"
	case !isPort(port):
		problem = fmt.Sprintf("port %q is not a number from 1 to 65535", port)
	default:
		return nil
	}
	if host == "" {
		host = "localhost"
	}
	return &AddressError{address, problem, net.JoinHostPort(host, "9000")}
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
