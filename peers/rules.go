package peers

import (
	"fmt"
	"net/netip"
	"sync/atomic"
)

// NoRule stands for the index of the access rule where none covers an address.
const NoRule = -1

// A RuleTally is what is counted of an access rule, or of the addresses that
// no rule covers. There is a new one when options are set.
type RuleTally struct {
	index   int
	rule    Rule
	refused atomic.Uint64
	peers   int // and senders; guarded by the table's mu
}

// Index returns the index of the rule in [Options.Access], or [NoRule].
func (r *RuleTally) Index() int { return r.index }

// String names the rule as the configuration does.
func (r *RuleTally) String() string {
	if r.index == NoRule {
		return "no rule"
	}
	return fmt.Sprintf("access[%d] from %s", r.index, r.rule.From)
}

// Refuse counts n datagrams that were refused. The table does not know how many
// datagrams a verdict stands for; who asks it does.
func (r *RuleTally) Refuse(n uint64) { r.refused.Add(n) }

// RuleCounts are what an access rule, or the lack of one, has done.
type RuleCounts struct {
	Index   int // in Options.Access; NoRule: for the addresses that no rule covers
	From    string
	May     May
	Join    Join
	Refused uint64 // datagrams
	Peers   int    // learned ones and senders that it has let in
}

// Rules returns the counts of each access rule in order, and at the end those
// for the addresses that no rule covers. They begin anew when options are set.
func (t *Table) Rules() []RuleCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := make([]RuleCounts, len(t.rules))
	for i, r := range t.rules {
		counts[i] = RuleCounts{r.index, r.rule.From, r.rule.May, r.rule.Join, r.refused.Load(), r.peers}
	}
	return counts
}

// newRules returns tallies for the rules, and one for the lack of a rule.
func newRules(access []Rule) []*RuleTally {
	rules := make([]*RuleTally, len(access)+1)
	for i, rule := range access {
		rules[i] = &RuleTally{index: i, rule: rule}
	}
	rules[len(access)] = &RuleTally{index: NoRule}
	return rules
}

// ruleFor returns the first rule that covers addr, or the lack of one, which
// lets nobody do anything.
func (t *Table) ruleFor(addr netip.Addr) *RuleTally {
	addr = addr.WithZone("") // a prefix contains no address with a zone
	last := len(t.rules) - 1
	for _, r := range t.rules[:last] {
		if r.rule.covers(addr) {
			return r
		}
	}
	return t.rules[last]
}
