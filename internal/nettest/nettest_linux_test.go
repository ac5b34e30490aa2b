package nettest

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// A test may be one inside another, with blanks in its name.
func TestInsideIsANetworkOfItsOwn(t *testing.T) {
	t.Run("a part", func(t *testing.T) {
		outer := os.Getenv(insideVariable) == ""
		if inside := Inside(t); inside == outer {
			t.Fatalf("want Inside to be true in the inner process alone; got %v, outer %v", inside, outer)
		}
		if outer {
			return
		}
		var names []string
		interfaces, err := net.Interfaces()
		for _, i := range interfaces {
			if i.Flags&net.FlagUp != 0 {
				names = append(names, i.Name)
			}
		}
		if err != nil || !slices.Equal(names, []string{"lo"}) {
			t.Errorf("want nothing up but lo; got %q, %v", names, err)
		}
	})
}

func TestMachinesAreOtherHosts(t *testing.T) {
	a, b := NewMachine(t), NewMachine(t)
	a.IP(t, fmt.Sprintf("link add eth type veth peer name eth netns %d", b.Thread()), "address add 203.0.113.1/24 dev eth", "link set eth up")
	b.IP(t, "address add 203.0.113.2/24 dev eth", "link set eth up")
	a.AwaitUp(t, "eth")
	b.AwaitUp(t, "eth")
	open := func(m *Machine, address string) (conn net.PacketConn) {
		var err error
		m.Do(func() { conn, err = net.ListenPacket("udp4", address) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	atA, atB := open(a, "203.0.113.1:0"), open(b, "203.0.113.2:0")
	if _, err := atA.WriteTo([]byte("x"), atB.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	atB.SetReadDeadline(time.Now().Add(testwait.Patience))
	if _, from, err := atB.ReadFrom(make([]byte, 1)); err != nil || from.String() != atA.LocalAddr().String() {
		t.Errorf("want a datagram from %v; got one from %v, %v", atA.LocalAddr(), from, err)
	}
	if said := a.Feed(t, "address show dev eth\n", "ip -4 -o -batch -"); !strings.Contains(said, "203.0.113.1/24") {
		t.Errorf("want the address of a; got %q", said)
	}
	if said := Run(t, "ip -4 -o address show"); strings.Contains(said, "203.0.113.") {
		t.Errorf("want none of the addresses here; got %q", said)
	}
}
