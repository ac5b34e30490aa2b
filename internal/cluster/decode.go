//go:build !nocluster

package cluster

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"udprelay/relay"
)

var (
	errVersion   = errors.New("a message of a version that is not known here")
	errMalformed = errors.New("a malformed message")
)

// maxNumber is more than a node can count to, so that sums of numbers and
// counts do not overflow.
const maxNumber = 1 << 62

// parseHeader returns what the first bytes of a message say. The error is
// errVersion or errMalformed.
func parseHeader(p []byte) (h header, err error) {
	if len(p) < len(magic)+1 || string(p[:len(magic)]) != magic {
		return h, errMalformed
	}
	if p[3] != wireVersion {
		return h, errVersion
	}
	if len(p) < headerBytes || len(p) > maxMessage {
		return h, errMalformed
	}
	if p[5]&^flagSealed != 0 {
		return h, errMalformed
	}
	h = header{
		kind:   kind(p[4]),
		sealed: p[5]&flagSealed != 0,
		count:  int(binary.BigEndian.Uint16(p[6:])),
		node:   nodeID(p[8:16]),
		number: binary.BigEndian.Uint64(p[16:]),
	}
	if h.number == 0 || h.number > maxNumber {
		return h, errMalformed
	}
	if h.sealed && len(p) < headerBytes+sealBytes {
		return h, errMalformed
	}
	return h, nil
}

// decode appends the datagrams of a message's body to list. The payloads are
// parts of body. If there are not exactly count, or one is not whole, there is
// an error and list is as it was.
func decode(list []relay.Datagram, body []byte, count int) ([]relay.Datagram, error) {
	before := len(list)
	var from netip.AddrPort
	for known := false; len(body) > 0; known = true {
		tag := body[0]
		body = body[1:]
		size := 0
		switch tag {
		case tag4:
			size = 4
		case tag6:
			size = 16
		case tagNone:
			from = netip.AddrPort{}
		case tagSame:
			if !known {
				return list[:before], errMalformed
			}
		default:
			return list[:before], errMalformed
		}
		if size > 0 {
			if len(body) < size+2 {
				return list[:before], errMalformed
			}
			ip, _ := netip.AddrFromSlice(body[:size])
			from = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(body[size:]))
			body = body[size+2:]
		}
		if len(body) < 2 {
			return list[:before], errMalformed
		}
		length := int(binary.BigEndian.Uint16(body))
		body = body[2:]
		if length == 0 || length > len(body) || len(list)-before == count {
			return list[:before], errMalformed
		}
		list = append(list, relay.Datagram{Payload: body[:length:length], From: from})
		body = body[length:]
	}
	if len(list)-before != count || count == 0 {
		return list[:before], errMalformed
	}
	return list, nil
}

// parseQuestion returns the question in the body of a message, and its text as
// a part of body. The error is errMalformed.
func parseQuestion(body []byte) (q question, err error) {
	if len(body) < questionHead || len(body) > questionHead+MaxQuestion {
		return q, errMalformed
	}
	q = question{
		to:    nodeID(body),
		at:    int64(binary.BigEndian.Uint64(body[8:])),
		about: topic(body[16]),
		text:  body[questionHead:],
	}
	return q, nil
}

// parsePart returns the part of an answer in the body of a message, and its
// text as a part of body. The error is errMalformed.
func parsePart(body []byte) (p part, err error) {
	if len(body) < partHead {
		return p, errMalformed
	}
	p = part{
		to:       nodeID(body),
		question: binary.BigEndian.Uint64(body[8:]),
		status:   status(body[16]),
		index:    int(binary.BigEndian.Uint16(body[17:])),
		parts:    int(binary.BigEndian.Uint16(body[19:])),
		text:     body[partHead:],
	}
	if p.question == 0 || p.status >= statuses || p.index >= p.parts || p.parts > maxParts {
		return part{}, errMalformed
	}
	full, last := len(p.text) == partBytes, p.index == p.parts-1
	switch {
	case p.status != statusPart && (p.parts != 1 || len(p.text) > 0),
		!last && !full,
		len(p.text) > partBytes,
		len(p.text) == 0 && p.status == statusPart && p.parts > 1:
		return part{}, errMalformed
	}
	return p, nil
}
