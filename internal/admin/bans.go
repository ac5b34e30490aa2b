package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"udprelay/internal/banlist"
)

// MostBan is the longest time that a ban may last that does not last for ever:
// 100 years of 365 days. The shortest is a second.
const MostBan = 100 * 365 * 24 * time.Hour

// addBans gives mux what keeps somebody out, and what ends that.
func addBans(mux *http.ServeMux, control Control) {
	mux.HandleFunc("POST /api/v1/kick", func(w http.ResponseWriter, request *http.Request) {
		var from netip.Prefix
		var port uint16
		address := textField("address", true, "192.0.2.7:40000", func(s string) (err error) {
			from, port, err = ParsePeers(s)
			return err
		})
		if !readBody(w, request, address) {
			return
		}
		kicked, err := control.Kick(from, port)
		tellDone(w, kicked, err)
	})
	mux.HandleFunc("POST /api/v1/ban", func(w http.ResponseWriter, request *http.Request) {
		var wish BanWish
		if !readBody(w, request, wish.fields()...) {
			return
		}
		banned, err := control.Ban(request.Context(), wish)
		banned.complete()
		tellDone(w, banned, err)
	})
	mux.HandleFunc("POST /api/v1/unban", func(w http.ResponseWriter, request *http.Request) {
		var from netip.Prefix
		var cluster bool
		if !readBody(w, request, prefixField(&from), boolField("cluster", &cluster)) {
			return
		}
		unbanned, err := control.Unban(request.Context(), from, cluster)
		unbanned.complete()
		if unbanned.Still == nil {
			unbanned.Still = []Ban{} // a list in JSON, too
		}
		tellDone(w, unbanned, err)
	})
}

// fields are those of the body of a request that asks for a ban.
func (wish *BanWish) fields() []field {
	return []field{
		prefixField(&wish.From),
		{"for_seconds", false, "3600", func(value json.RawMessage) (err error) {
			wish.Duration, err = parseSeconds(value)
			return err
		}},
		textField("reason", false, "it floods the room", func(s string) error {
			wish.Reason = s
			return CheckReason(s)
		}),
		boolField("cluster", &wish.Cluster),
	}
}

// boolField is a field that is true or false.
func boolField(name string, to *bool) field {
	return field{name, false, "false", func(value json.RawMessage) error {
		switch string(value) {
		case "true", "false":
			*to = string(value) == "true"
			return nil
		}
		return fmt.Errorf("%s is neither true nor false; want one of them", printable(string(value)))
	}}
}

// prefixField is the field from.
func prefixField(from *netip.Prefix) field {
	return textField("from", true, "192.0.2.0/24", func(s string) (err error) {
		*from, err = ParsePrefix(s)
		return err
	})
}

// parseSeconds returns how long a ban is to last, to the millisecond.
func parseSeconds(value json.RawMessage) (time.Duration, error) {
	var seconds *float64 // nil: null
	err := json.Unmarshal(value, &seconds)
	if err != nil || seconds == nil || *seconds == 0 && strings.ContainsAny(string(value), "123456789") || *seconds != 0 && (*seconds < 1 || *seconds > MostBan.Seconds()) {
		return 0, fmt.Errorf("%s is no time that a ban can last; want a number of seconds from 1 to %.0f, or 0 for ever", printable(string(value)), MostBan.Seconds())
	}
	return time.Duration(math.Round(*seconds*1000)) * time.Millisecond, nil
}

// CheckReason says what is wrong with the reason of a ban, which is shown to
// people on terminals and in logs.
func CheckReason(reason string) error { return banlist.CheckReason(reason) }

// tellDone answers with what was done, or why it was not.
func tellDone(w http.ResponseWriter, done any, err error) {
	if err == nil {
		answer(w, http.StatusOK, done)
		return
	}
	status := http.StatusInternalServerError
	if failure := (*Failure)(nil); errors.As(err, &failure) {
		switch failure.Code {
		case 1:
			status = http.StatusNotFound // no such peer, or no such ban
		case 64:
			status = http.StatusBadRequest
		case 69:
			status = http.StatusConflict // no room for it, or no cluster
		}
	}
	answer(w, status, failureOf(err))
}

// ParsePrefix returns what a person means by text: a prefix, or an address
// alone. Bits behind the prefix are cleared, and what is IPv4 mapped to IPv6 is
// IPv4. The error says what would be right.
func ParsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		if prefix, err := netip.ParsePrefix(text); err == nil && !(prefix.Addr().Is4In6() && prefix.Bits() < 96) {
			if prefix.Addr().Is4In6() {
				prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
			}
			return prefix.Masked(), nil
		}
	} else if addr, err := ParseAddress(text); err == nil {
		bare := addr.Addr().WithZone("")
		switch {
		case addr.Port() != 0:
			return netip.Prefix{}, fmt.Errorf("%s has a port, and a ban is for all ports of an address; want %v", printable(text), bare)
		case addr.Addr().Zone() != "":
			return netip.Prefix{}, fmt.Errorf("%s has a zone, and a ban is for all of them; want %v", printable(text), bare)
		}
		return netip.PrefixFrom(bare, bare.BitLen()), nil
	}
	return netip.Prefix{}, fmt.Errorf("%s is no address and no prefix; want one such as 192.0.2.7, 2001:db8::7 or 192.0.2.0/24", printable(text))
}

// ParsePeers is ParsePrefix for what also may be an address with a port; for all
// else the port is 0. A zone does not count.
func ParsePeers(text string) (from netip.Prefix, port uint16, err error) {
	if addr, err := ParseAddress(text); err == nil {
		bare := addr.Addr().WithZone("")
		return netip.PrefixFrom(bare, bare.BitLen()), addr.Port(), nil
	}
	if from, err = ParsePrefix(text); err != nil {
		err = fmt.Errorf("%s is no address and no prefix; want one such as 192.0.2.7:40000, [2001:db8::7]:40000, 192.0.2.7 or 192.0.2.0/24", printable(text))
	}
	return from, 0, err
}
