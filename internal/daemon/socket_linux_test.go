package daemon

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// passed returns a copy of the socket conn as a service manager passes it.
func passed(t *testing.T, conn *net.UDPConn, name string) *os.File {
	t.Helper()
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	copied, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(copied), name)
}

func TestTheSocketOfBeforeIsTakenBackWithWhatWaitsInIt(t *testing.T) {
	kept := listenUDP(t, "udp4", "127.0.0.1:0")
	address := kept.LocalAddr().(*net.UDPAddr)
	waiting, err := net.DialUDP("udp", nil, address)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	for _, text := range []string{"", "said while", "nobody ran"} { // before there is a daemon
		if _, err := waiting.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	listener := listenUDP(t, "udp4", "127.0.0.1:0")
	d := start(t, surroundings{sockets: []*os.File{passed(t, kept, storedName)}}, keyed("listen", address.String()), keyed("peers.static", listener.LocalAddr().String()))
	d.await(t, `msg=listening address=`+address.String()+` .*socket_of="the process before"`)
	guest{listener}.hears(t, "said while")
	guest{listener}.hears(t, "nobody ran")
}

func TestTheSocketOfAnotherAddressIsGivenUp(t *testing.T) {
	old := listenUDP(t, "udp4", "127.0.0.1:0")
	port := old.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	file := passed(t, old, storedName)
	// The service manager closes its copy a little later.
	go func() {
		time.Sleep(50 * time.Millisecond)
		old.Close()
	}()
	d := start(t, surroundings{sockets: []*os.File{file}}, keyed("listen", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String()))
	if got := d.addr(t); !got.IP.IsUnspecified() || got.Port != int(port) {
		t.Errorf("want 0.0.0.0:%d, got %v", port, got)
	}
	if strings.Contains(d.log.String(), "socket_of") {
		t.Errorf("want a new socket, got\n%s", &d.log)
	}
}

func TestAnActivatedSocketBeatsListen(t *testing.T) {
	given := listenUDP(t, "udp4", "127.0.0.1:0")
	d := start(t, surroundings{sockets: []*os.File{passed(t, given, "udprelay.socket")}}, keyed("listen", "127.0.0.1:1"))
	d.await(t, `msg=listening address=`+given.LocalAddr().String()+` .*socket_of="the service manager"`)
}

func TestSocketsThatDoNotFitAreAConfigurationError(t *testing.T) {
	stream, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	tcp, err := stream.File()
	if err != nil {
		t.Fatal(err)
	}
	for want, sockets := range map[string][]*os.File{
		"the service manager has passed 2 sockets; want one of UDP":                {passed(t, listenUDP(t, "udp4", "127.0.0.1:0"), "a"), passed(t, listenUDP(t, "udp4", "127.0.0.1:0"), "b")},
		"the service manager has passed a socket that is not UDP; want one of UDP": {tcp},
	} {
		options := always(configured(t), io.Discard)
		options.Sockets = sockets
		err := Run(t.Context(), options)
		var failure *ActivationError
		if !errors.As(err, &failure) || failure.ExitCode() != 78 || err.Error() != want {
			t.Errorf("want %q with 78, got %v", want, err)
		}
	}
}

func TestASocketFitsWhereItWouldBeOpenedAlike(t *testing.T) {
	for _, test := range []struct {
		bound, listen string
		want          bool
	}{
		{"[::]:9000", ":9000", true},
		{"[::]:9000", "[::]:9000", true},
		{"[::]:9000", ":0", true},
		{"[::]:9000", ":9001", false},
		{"[::]:9000", "0.0.0.0:9000", false},
		{"0.0.0.0:9000", "0.0.0.0:9000", true},
		{"0.0.0.0:9000", ":9000", !hasIPv6()},
		{"127.0.0.1:9000", "127.0.0.1:9000", true},
		{"127.0.0.1:9000", "localhost:9000", true},
		{"127.0.0.1:9000", ":9000", false},
		{"127.0.0.1:9000", "[::1]:9000", false},
		{"[::1]:9000", "[::1]:9000", true},
		{"[fe80::1%lo]:9000", "[fe80::1%lo]:9000", true},
		{"[fe80::1%lo]:9000", "[fe80::1%eth0]:9000", false},
	} {
		wanted, err := parseWanted(t.Context(), test.listen)
		if err != nil {
			t.Fatal(err)
		}
		if test.listen == "localhost:9000" && wanted.addr.Is6() {
			continue // so it is on this host
		}
		if got := wanted.fits(netip.MustParseAddrPort(test.bound)); got != test.want {
			t.Errorf("bound to %s, listen %q: want %v, got %v", test.bound, test.listen, test.want, got)
		}
	}
}
