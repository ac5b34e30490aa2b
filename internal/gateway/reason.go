package gateway

import "slices"

// A Reason is why a connection was refused or has ended.
type Reason uint8

const (
	// Before it was a peer.

	TooMany      Reason = iota + 1 // Options.Connections is reached
	BadHandshake                   // TLS or WebSocket was not begun as it is, or with a bad certificate
	WrongOrigin                    // a page of another origin, which is none of Options.WebSocket.Origins
	NotLetIn                       // an access rule or a limit of the peers refuses it, or a ban
	Unproven                       // it did not prove itself in time
	BadProof                       // it showed a wrong secret
	ClearSecret                    // it showed the secret without encryption

	// As a peer.

	Left     // the client has ended it
	Broken   // the network has
	TakenOut // it was kicked, banned, or is not let in by new rules
	Stuck    // it has taken nothing of what was sent to it for too long
	Silent   // it has sent nothing for Options.Idle
	BadFrame // it has sent what is no frame or message
	Stopped  // the relay or the gateway is stopped

	reasons
)

// String returns the reason as one word, as metrics and logs name it.
func (r Reason) String() string {
	return [reasons]string{"", "too_many", "bad_handshake", "wrong_origin", "not_let_in", "unproven", "bad_proof", "clear_secret",
		"left", "broken", "taken_out", "stuck", "silent", "bad_frame", "stopped"}[r]
}

// Error implements error.
func (r Reason) Error() string { return r.String() }

// Refused reports whether a connection that ends for this reason was no peer.
func (r Reason) Refused() bool { return r < Left }

// graceful reports whether what waits for the client is still sent to it.
func (r Reason) graceful() bool { return r == Left || r == Stopped }

// Reasons returns every reason there is.
func Reasons() []Reason {
	list := make([]Reason, 0, reasons-1)
	for r := TooMany; r < reasons; r++ {
		list = append(list, r)
	}
	return slices.Clip(list)
}
