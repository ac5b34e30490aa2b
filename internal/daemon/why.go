package daemon

import (
	"net/netip"
	"time"

	"udprelay/internal/admin"
	"udprelay/relay"
)

// Why explains what happens to datagrams from addr and for it.
func (d *daemon) Why(addr netip.AddrPort) admin.Why {
	now := time.Now()
	said := d.relay.Explain(addr)
	why := admin.Why{Address: said.Addr.String(), Verdict: said.FromVerdict + "; " + said.ToVerdict}
	if said.Addr.Port() == 0 {
		why.Address = said.Addr.Addr().String()
	}
	for _, step := range said.From {
		why.Would = append(why.Would, admin.Step{Step: step.Name, Result: step.Result, Decides: step.Decides})
	}
	for _, step := range said.To {
		why.Would = append(why.Would, admin.Step{Step: "to it: " + step.Name, Result: step.Result, Decides: step.Decides})
	}
	if p := said.Peer; p != nil {
		why.Peer = d.tell(p, d.namesByAddress()[p.Addr()], d.relay.Peers().Expiry(), now)
		d.sampler.setRates([]*admin.Peer{why.Peer}, []uint64{p.Number()}, now)
		for _, reason := range relay.Drops() {
			if n := why.Peer.Dropped[reason.String()]; n > 0 {
				why.Did = append(why.Did, admin.Did{Reason: reason.String(), Count: n, Last: known(d.relay.LastDrop(p, reason))})
			}
		}
		for _, kind := range relay.Reports() {
			if n := why.Peer.Reported[kind.String()]; n > 0 {
				why.Reports = append(why.Reports, admin.NetworkReport{Kind: kind.String(), Count: n, Last: known(d.relay.LastReport(p, kind))})
			}
		}
	}
	for _, refusal := range d.relay.Recent(addr) {
		why.Did = append(why.Did, admin.Did{Reason: refusal.Reason.String(), Rule: refusal.Rule, From: refusal.From.String(), Count: refusal.Count, Last: &admin.Time{Time: refusal.Last}})
	}
	return why
}

// known returns a time, or nil if there is none.
func known(at time.Time, ever bool) *admin.Time {
	if !ever {
		return nil
	}
	return &admin.Time{Time: at}
}
