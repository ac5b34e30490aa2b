package gateway

import (
	"context"
	"log/slog"
	"net/netip"

	"udprelay/peers"
)

// advice is what an operator can do about a reason. Those without it are part
// of every day.
var advice = [reasons]string{
	TooMany:      "to take more clients, raise gateway.connections, or peers.max_per_address for those of one address; if there should not be so many, see who they are",
	BadHandshake: "what came is not what this address is for, such as another path or no TLS, or without a certificate that gateway.tls.client_ca asks for",
	WrongOrigin:  "to let pages of this origin connect, add it to gateway.websocket.origins",
	NotLetIn:     "its address is refused by a rule of access, a ban, or a limit of the peers; udprelay why tells more",
	Unproven:     "its rule in access asks for the secret, and it has not shown it in time",
	BadProof:     "its rule in access asks for the secret, and it has shown another, or none",
	ClearSecret:  "let it connect by TLS, or prove that it knows the secret as udprelay join does; others may know the secret now",
	Stuck:        "it takes nothing of what is sent to it: its program hangs, or its network is too slow",
	BadFrame:     "what it sends are no frames of RFC 4571, or no messages of a WebSocket",
}

// ended counts and logs that a connection has. Details are for the log.
func (g *Gateway) ended(addr netip.AddrPort, transport peers.Transport, why Reason, details ...any) {
	defer g.counts.ended[why].Add(1)
	what := "client gone"
	if why.Refused() {
		what = "client refused"
	}
	args := append([]any{"client", addr, "transport", transport, "reason", why.String()}, details...)
	level := slog.LevelDebug
	if advice[why] != "" {
		level = slog.LevelWarn
		args = append(args, "hint", advice[why])
	}
	g.log.Log(context.Background(), level, what, args...)
}
