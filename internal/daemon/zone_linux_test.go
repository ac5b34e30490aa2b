package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"udprelay/internal/nettest"
)

// Sockets belong to an interface by its number, which the next one of that name
// does not have.
func TestAnInterfaceThatIsMadeAnewEndsTheRelay(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	for name, test := range map[string]struct{ key, zone string }{
		"the relay": {"listen", "one"},
		"a gateway": {"gateway.tcp.listen", "two"}, // Go keeps numbers of names for a minute
	} {
		t.Run(name, func(t *testing.T) {
			zone := test.zone
			add := func() {
				nettest.IP(t, "link add "+zone+" type veth peer name other")
				nettest.IP(t, "link set "+zone+" up")
				nettest.IP(t, "addr add fe80::1/64 dev "+zone+" nodad")
			}
			add()
			log := new(lockedBuffer)
			ended := make(chan error, 1)
			options := always(configured(t, keyed("listen", "127.0.0.1:0"), keyed(test.key, "[fe80::1%"+zone+"]:9000")), log)
			go func() { ended <- Run(t.Context(), options) }()
			log.await(t, `level=INFO msg="?(listening|gateway open).*%`+zone)
			nettest.IP(t, "link set "+zone+" down")
			nettest.IP(t, "link set "+zone+" name three") // the socket stays with it
			nettest.IP(t, "link set three down")
			nettest.IP(t, "link set three name "+zone)
			nettest.IP(t, "link del "+zone)
			log.await(t, `level=WARN msg="an interface is gone: .*" interface=`+zone)
			add()
			err := <-ended
			nettest.IP(t, "link del "+zone)
			gone := (*ZoneError)(nil)
			if !errors.As(err, &gone) || gone.Zone != zone || gone.ExitCode() != 69 {
				t.Errorf("want an error of the interface %s, with exit code 69; got %v", zone, err)
			}
		})
	}
}

// What the hint says helps.
func TestAnAddressThatIsNotThereYetCanBeAllowed(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	for _, test := range []struct{ family, address string }{{"ipv4", "192.0.2.9:9000"}, {"ipv6", "[2001:db8::9]:9000"}} {
		_, err := bindTo(test.address)
		bind := (*BindError)(nil)
		if !errors.As(err, &bind) || bind.ExitCode() != 69 || !strings.Contains(bind.Hint(), "sysctl net.ipv4.ip_nonlocal_bind=1 (net.ipv6 alike)") {
			t.Fatalf("%s: want an error with exit code 69 and a hint; got %v", test.address, err)
		}
		if err := os.WriteFile("/proc/sys/net/"+test.family+"/ip_nonlocal_bind", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		conn, err := bindTo(test.address)
		if err != nil {
			t.Fatalf("%s: want it bound; got %v", test.address, err)
		}
		conn.Close()
	}
}

func bindTo(address string) (*net.UDPConn, error) {
	wanted, err := parseWanted(context.Background(), address)
	if err != nil {
		return nil, err
	}
	return wanted.listen()
}
