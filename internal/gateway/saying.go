package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"udprelay/peers"
)

// linesPerMinute is how many lines the log gets about clients that were refused
// or have ended badly, at once or over the minute; what is left out is counted.
const linesPerMinute = 10

// A saying bounds what is said of clients.
type saying struct {
	bucket peers.Bucket
	unsaid atomic.Uint64 // lines that were left out since the last
}

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
		if g.saying.bucket.Take(linesPerMinute, 1, g.now()/60) {
			level = slog.LevelWarn
			args = append(args, "hint", advice[why])
			if unsaid := g.saying.unsaid.Swap(0); unsaid > 0 {
				args = append(args, "such_lines_left_out", unsaid)
			}
		} else {
			g.saying.unsaid.Add(1)
		}
	}
	g.log.Log(context.Background(), level, what, args...)
}
