package client

import "net/netip"

// A ProofError is a relay that wants a proof and has not accepted one.
type ProofError struct {
	Addr    netip.AddrPort
	Relay   string // as Client.Relay; "": Addr
	Refused bool   // it has refused some; otherwise it has sent no cookie to make one with
	Secret  bool   // they showed the knowledge of a secret
}

func (e *ProofError) Error() string {
	relay := e.Relay
	if relay == "" {
		relay = e.Addr.String()
	}
	if e.Refused {
		return "the relay at " + relay + " wants a proof and does not accept ours"
	}
	return "the relay at " + relay + " wants a proof and sends no cookie for it"
}

// shutOut returns why Send fails, or nil. The caller holds mu.
func (c *Client) shutOut() *ProofError {
	if !c.joiner.shutOut {
		return nil
	}
	return &ProofError{c.remote, c.relay, c.joiner.refusals > 0, len(c.joiner.secret) > 0}
}
