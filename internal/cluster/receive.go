//go:build !nocluster

package cluster

import (
	"crypto/cipher"
	"errors"
	"slices"
	"time"

	"udprelay/relay"
)

// bringAtOnce is how many datagrams are brought in one go: as many as the relay
// makes a batch of, so that Close need not wait for a whole message.
const bringAtOnce = 64

// receive takes a message. Those of one subject come one at a time.
func (c *Cluster) receive(subject string, p []byte) {
	h, err := parseHeader(p)
	switch {
	case errors.Is(err, errVersion):
		c.counters.drop(DropUnknownVersion, 1)
		return
	case err != nil:
		c.counters.drop(DropMalformed, 1)
		return
	case h.node == c.node:
		return // NATS sends no echo, but what is between may
	}
	sealer := c.nodes.sealer(h.node)
	body, err := open(p, &h, sealer)
	if err != nil {
		c.counters.drop(DropWrongSecret, 1)
		return
	}
	switch {
	case h.kind == kindDatagrams && subject == c.dataSubject:
		c.hearDatagrams(&h, sealer, body)
	case h.kind == kindBeat && subject == c.controlSubject:
		c.hearBeat(&h, sealer, body)
	case h.kind == kindQuestion && subject == c.nodeSubject:
		c.hearQuestion(&h, sealer, body)
	case h.kind == kindAnswer && subject == c.nodeSubject:
		c.hearAnswer(&h, body)
	default:
		c.counters.drop(DropMalformed, 1)
	}
}

// hearDatagrams brings what a message holds to the relay.
func (c *Cluster) hearDatagrams(h *header, sealer cipher.AEAD, body []byte) {
	var err error
	if c.datagrams, err = decode(c.datagrams[:0], body, h.count); err != nil {
		c.counters.drop(DropMalformed, 1)
		return
	}
	heard := c.nodes.datagrams(h.node, sealer, h.number, h.count, time.Now())
	c.note(heard)
	if heard.duplicate || heard.tooMany || heard.unproven {
		return
	}
	c.counters.receivedMessages.Add(1)
	for chunk := range slices.Chunk(c.datagrams, bringAtOnce) {
		if c.attachment.Bring(chunk) != nil {
			return // the node is closed, or the relay is
		}
		c.counters.receivedDatagrams.Add(uint64(len(chunk)))
		c.counters.receivedBytes.Add(payloadBytes(chunk))
	}
}

func payloadBytes(list []relay.Datagram) (total uint64) {
	for i := range list {
		total += uint64(len(list[i].Payload))
	}
	return total
}
