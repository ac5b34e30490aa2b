package peers

import "sync/atomic"

// A list is a slice that readers load without a lock. Appending leaves what
// was published before as it was.
type list struct {
	items     []*Peer
	published atomic.Pointer[[]*Peer]
}

func (l *list) load() []*Peer { return *l.published.Load() }

func (l *list) append(p *Peer) { l.publish(append(l.items, p)) }

func (l *list) replace(items []*Peer) { l.publish(items) }

func (l *list) publish(items []*Peer) {
	l.items = items
	l.published.Store(&items)
}
