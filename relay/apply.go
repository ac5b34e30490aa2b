package relay

import (
	"bytes"

	"udprelay/peers"
)

// Apply makes options hold from now on, and returns how many learned peers were
// forgotten because the new rules do not let them in, or not with the proof
// they gave; see [peers.Table.SetOptions]. Any goroutine may call it, also while
// Run runs. The options are as for [New], but for these:
//
//   - Peers.Own, NoTrains, Senders, Coalesce and Logger are ignored: they need a new relay.
//   - A new Secret counts from the next datagram on. Cookies that were handed
//     out stay good; what was proved with the old secret counts as a cookie.
//   - ReceiveBuffer and SendBuffer are set if they differ from before. 0 leaves
//     a buffer as it is.
//
// Bans stay. What [peers.Table.Rules] counts begins anew.
func (r *Relay) Apply(options Options) (forgotten int) {
	r.applying.Lock()
	defer r.applying.Unlock()
	before := r.options
	options.Peers.Own, options.NoTrains, options.Logger = before.Peers.Own, before.NoTrains, before.Logger
	options.Secret = bytes.Clone(options.Secret)
	r.options = options

	limits := options.Limits
	r.limits.Store(&limits)
	r.socket.setBuffers(changed(before.ReceiveBuffer, options.ReceiveBuffer), changed(before.SendBuffer, options.SendBuffer), r.log)
	if !bytes.Equal(before.Secret, options.Secret) {
		r.receiving.door.changeSecret(options.Secret, r.table)
	}
	removed := r.table.SetOptions(options.Peers)
	for _, p := range removed {
		r.log.Debug("peer forgotten: its rule has changed", "peer", p.Addr())
	}
	select {
	case r.expiryChanged <- struct{}{}:
	default: // keepHouse has not looked since the last
	}
	return len(removed)
}

// changed returns the size to set: 0 if it is the previous one.
func changed(before, now int) int {
	if now == before {
		return 0
	}
	return now
}

// changeSecret makes secret the one that counts from now on. Who is proving
// that he knows the old one has either joined before, and is forgotten as one
// who knows it, or comes too late.
func (door *door) changeSecret(secret []byte, table *peers.Table) {
	door.proving.Lock()
	defer door.proving.Unlock()
	door.jar.SetSecret(secret)
	table.ForgetSecret()
}
