package framing

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestWire(t *testing.T) {
	t.Parallel()
	frames := Append(nil, []byte("hello"))
	frames = Append(frames, nil)
	frames = Append(frames, bytes.Repeat([]byte{7}, 258))
	want := "\x00\x05hello" + "\x00\x00" + "\x01\x02" + string(bytes.Repeat([]byte{7}, 258))
	if string(frames) != want {
		t.Errorf("Append: %q, want %q", frames, want)
	}
	for _, c := range []struct {
		frames           string
		datagrams, bytes int
	}{
		{"", 0, 0},
		{"\x00", 0, 0},
		{"\x00\x00", 1, 0},
		{"\x00\x02a", 0, 0},
		{"\x00\x02ab\x00", 1, 2},
		{want, 3, 263},
	} {
		if datagrams, bytes := Count([]byte(c.frames)); datagrams != c.datagrams || bytes != c.bytes {
			t.Errorf("Count(%q) = %d, %d, want %d, %d", c.frames, datagrams, bytes, c.datagrams, c.bytes)
		}
	}
}

func TestAppendTooLong(t *testing.T) {
	t.Parallel()
	if n := len(Append(nil, make([]byte, MaxPayload))); n != HeaderSize+MaxPayload {
		t.Errorf("a frame of %d bytes, want %d", n, HeaderSize+MaxPayload)
	}
	defer func() {
		if recover() == nil {
			t.Error("a payload of 65536 bytes was put into a frame")
		}
	}()
	Append(nil, make([]byte, MaxPayload+1))
}

// What is appended comes out again, and nobody can write beyond a payload.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		payloads := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "payloads")
		var frames []byte
		size := 0
		for _, p := range payloads {
			frames = Append(frames, p)
			size += len(p)
		}
		if datagrams, bytes := Count(frames); datagrams != len(payloads) || bytes != size {
			t.Fatalf("Count = %d, %d, want %d, %d", datagrams, bytes, len(payloads), size)
		}
		for i, want := range payloads {
			payload, rest, ok := Next(frames)
			if !ok || !bytes.Equal(payload, want) || cap(payload) != len(payload) {
				t.Fatalf("frame %d: %q (room for %d), %v, want %q", i, payload, cap(payload), ok, want)
			}
			frames = rest
		}
		if _, rest, ok := Next(frames); ok || len(rest) != 0 {
			t.Fatalf("%d bytes are left", len(rest))
		}
	})
}
