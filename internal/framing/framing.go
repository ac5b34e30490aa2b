package framing

import (
	"encoding/binary"
	"fmt"
)

const (
	// HeaderSize is what a frame has before its payload, in bytes.
	HeaderSize = 2

	// MaxPayload is the longest payload that a frame can have, in bytes.
	MaxPayload = 1<<16 - 1
)

// Append appends a frame with payload to frames. It panics if payload has more
// than MaxPayload bytes.
func Append(frames, payload []byte) []byte {
	if len(payload) > MaxPayload {
		panic(fmt.Sprintf("framing: a payload of %d bytes, where %d fit", len(payload), MaxPayload))
	}
	frames = binary.BigEndian.AppendUint16(frames, uint16(len(payload)))
	return append(frames, payload...)
}

// Next returns the payload of the first of frames, which shares its memory, and
// what follows it. It is not ok if the first is not whole; rest is frames then.
func Next(frames []byte) (payload, rest []byte, ok bool) {
	if len(frames) < HeaderSize {
		return nil, frames, false
	}
	end := HeaderSize + int(binary.BigEndian.Uint16(frames))
	if len(frames) < end {
		return nil, frames, false
	}
	return frames[HeaderSize:end:end], frames[end:], true
}

// Count returns how many datagrams the whole frames at the beginning of frames
// hold, empty ones too, and how many bytes their payloads have.
func Count(frames []byte) (datagrams, bytes int) {
	for {
		payload, rest, ok := Next(frames)
		if !ok {
			return datagrams, bytes
		}
		datagrams++
		bytes += len(payload)
		frames = rest
	}
}
