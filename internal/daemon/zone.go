package daemon

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"
)

// zonesEvery is how often it is looked whether the interfaces are there that
// sockets are bound to.
const zonesEvery = time.Second

// A ZoneError is an interface that was made anew under the sockets that are bound
// to an address of it: they belong to the one before, by its number (RFC 4007,
// section 6), and hear nothing any more.
type ZoneError struct{ Zone string }

func (e *ZoneError) Error() string {
	return fmt.Sprintf("the interface %s has been made anew: what is bound to it hears nothing any more", e.Zone)
}

// ExitCode is EX_UNAVAILABLE of sysexits.h, with which the service manager starts
// the relay again.
func (e *ZoneError) ExitCode() int { return 69 }

// Hint returns a way out.
func (e *ZoneError) Hint() string { return "start it again; as a service it starts by itself" }

// watchZones returns a [*ZoneError] when there is one, and nil when ctx is done.
// An interface that is gone is logged, and waited for.
func (d *daemon) watchZones(ctx context.Context) error {
	numbers := make(map[string]int) // of interfaces, by name; 0: it is gone
	ticks := time.NewTicker(zonesEvery)
	defer ticks.Stop()
	for {
		for _, zone := range d.zones() {
			number, known := numbers[zone]
			switch {
			case !known:
				numbers[zone] = numberOf(zone)
			case number == 0 && numberOf(zone) != 0:
				return &ZoneError{zone}
			case number != 0 && !hasInterface(number):
				numbers[zone] = 0
				d.log.Warn("an interface is gone: nothing is heard at its addresses until it is back, and the relay started again", "interface", zone)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// zones returns the interfaces that the sockets of the relay are bound to.
func (d *daemon) zones() (zones []string) {
	if zone := d.relay.Addr().Addr().Zone(); zone != "" {
		zones = append(zones, zone)
	}
	for _, addr := range d.gateway.Addrs() {
		if zone := addr.Addr().Zone(); zone != "" {
			zones = append(zones, zone)
		}
	}
	return zones
}

// numberOf returns the number of the interface that a zone stands for, or 0.
func numberOf(zone string) int {
	if found, err := net.InterfaceByName(zone); err == nil {
		return found.Index
	}
	number, _ := strconv.Atoi(zone) // one without a name
	if hasInterface(number) {
		return number
	}
	return 0
}

func hasInterface(number int) bool {
	_, err := net.InterfaceByIndex(number)
	return err == nil
}
