package relay

import (
	"net"
	"testing"

	"udprelay/internal/nettest"
)

// What comes for a group that another program has joined is not for the relay.
func TestGroupsOfOtherProgramsAreNotReceived(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	other.IP(t, "route add 224.0.0.0/4 dev cable0")
	cable, err := net.InterfaceByName("cable0")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ways[:2] {
		for _, listen := range []string{onAll4, onAll} {
			for network, group := range map[string]string{"udp4": "239.77.0.1", "udp6": "ff05::77:1"} {
				if network == "udp6" && listen == onAll4 {
					continue
				}
				r := startRelay(t, w, listen, defaults())
				joined, err := net.ListenMulticastUDP(network, cable, &net.UDPAddr{IP: net.ParseIP(group)})
				if err != nil {
					t.Fatal(err)
				}
				defer joined.Close()
				from, to := "10.77.0.11", "10.77.0.1"
				if network == "udp6" {
					from, to = "fd77:0::11", "fd77:0::1"
				}
				var conn *net.UDPConn
				other.Do(func() { conn, err = net.ListenUDP(network, &net.UDPAddr{IP: net.ParseIP(from)}) })
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				// First to the group, then to the relay itself.
				if _, err := conn.WriteToUDPAddrPort([]byte("to the group"), at(r, group)); err != nil {
					t.Fatal(err)
				}
				other.client(t, from, at(r, to)).join(r)
				settle(t, r)
				if s := r.Stats(); s.Received != 1 {
					t.Errorf("%s, %s on %s: want only the keep-alive received; got %d datagrams", w.name, network, listen, s.Received)
				}
			}
		}
	}
}
