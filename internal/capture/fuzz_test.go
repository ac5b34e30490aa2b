package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
)

// FuzzPackets takes its input for a file and for a packet of each link type.
func FuzzPackets(f *testing.F) {
	ng := recording(f, "", "x", "payload")
	f.Add(ng, uint16(101), 40)
	f.Add(pcap(binary.LittleEndian, 1, udp4(mac+"\x08\x00", "x")), uint16(1), 0)
	f.Add(pcap(binary.BigEndian, 113, udp6("\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x86\xdd", "")), uint16(113), 0)
	f.Add(udp4("", "payload"), uint16(101), 0)
	f.Add(udp6(mac+"\x88\xa8\x00\x05\x81\x00\x00\x07\x86\xdd", "x"), uint16(1), 100)
	f.Add(udp6("\x86\xdd\x00\x00\x00\x00\x00\x01\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00", "x"), uint16(276), 0)
	f.Add(extended(0, 60, 43), uint16(229), 0)
	f.Add(extended(51), uint16(14), 0)
	f.Fuzz(func(t *testing.T, data []byte, link uint16, more int) {
		d, skip := decode(frame{link: link, data: data, length: len(data) + max(more, 0)})
		checkDecoded(t, d, skip, data)

		if r, err := newReader("fuzz", bytes.NewReader(data)); err == nil {
			for {
				f, err := r.next()
				if err != nil {
					break
				}
				if len(f.data) > maxCaptured || len(f.data) > f.length {
					t.Fatalf("a frame has %d of %d bytes", len(f.data), f.length)
				}
				d, skip := decode(f)
				checkDecoded(t, d, skip, f.data)
			}
			if ng, ok := r.source.(*ngFile); ok && (cap(ng.blocks.block) > maxBlock || len(ng.interfaces) > maxInterfaces) {
				t.Fatalf("%d bytes of a block and %d interfaces are kept", cap(ng.blocks.block), len(ng.interfaces))
			}
		}

		// What is saved of anything is whole blocks.
		var out bytes.Buffer
		saved, _ := Save(context.Background(), bytes.NewReader(data), ToWriter(&out), 0)
		blocks, packets := blocksOf(out.Bytes()), uint64(0)
		for {
			kind, err := blocks.next(func(uint32) bool { return true })
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("what was saved: %v", err)
			}
			if kind == packetBlock {
				packets++
			}
		}
		if packets != saved.Datagrams {
			t.Fatalf("%d packets were saved, and said to be %d", packets, saved.Datagrams)
		}
	})
}

// checkDecoded looks at what decode returned for data.
func checkDecoded(t *testing.T, d datagram, skip Skip, data []byte) {
	t.Helper()
	if skip > kept {
		t.Fatalf("the reason %d is none", skip)
	}
	if skip != kept {
		if d.payload != nil || skip.String() == "" {
			t.Fatalf("skipped as %v, with a payload of %d bytes", skip, len(d.payload))
		}
		return
	}
	if len(d.payload)+udpHeader+ip4Header > len(data) || !d.from.IsValid() || !d.to.IsValid() {
		t.Fatalf("of %d bytes: %+v", len(data), d)
	}
}

// FuzzWritten has the reader of gopacket read what is recorded, and ours what
// gopacket's writer writes.
func FuzzWritten(f *testing.F) {
	f.Add([]byte("payload"), uint16(0), true)
	f.Add([]byte(""), uint16(60), false)
	f.Add(bytes.Repeat([]byte{0xff}, 65507), uint16(1000), true)
	f.Fuzz(func(t *testing.T, payload []byte, snap uint16, six bool) {
		o := Options{To: relay4, SnapLen: int(snap), Queue: leastQueue}
		if o.SnapLen > 0 {
			o.SnapLen += mostHeaders
		}
		origin := origin4
		if six {
			origin, o.To = origin6, relay6
		}
		payload = payload[:min(len(payload), largestPayload(origin.Addr()))]
		r := newRecorder(t, o)
		r.Deliver(from(origin, string(payload)))
		data := drained(t, r)

		theirs, err := pcapgo.NewNgReader(bytes.NewReader(data), pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Fatal(err)
		}
		packet, info, err := theirs.ReadPacketData()
		if err != nil {
			t.Fatal(err)
		}
		if info.Length != headers(origin.Addr())+len(payload) || o.SnapLen > 0 && len(packet) > o.SnapLen {
			t.Fatalf("%d bytes: %+v", len(payload), info)
		}
		ours, err := newReader("fuzz", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.next()
		if err != nil || !bytes.Equal(got.data, packet) || got.length != info.Length || !got.at.Equal(info.Timestamp) {
			t.Fatalf("want what gopacket reads, %+v, got %+v, %v", info, got, err)
		}
		d, skip := decode(got)
		if len(packet) < info.Length {
			if skip != SkipTruncated {
				t.Fatalf("want it skipped as cut short, got %v", skip)
			}
		} else if skip != kept || !bytes.Equal(d.payload, payload) || d.from != origin || d.to != o.To {
			t.Fatalf("want the datagram as it was, got %v, %+v", skip, d)
		}

		var again bytes.Buffer
		w := pcapgo.NewWriterNanos(&again)
		if err := w.WriteFileHeader(65535, 101); err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: info.Timestamp, CaptureLength: len(packet), Length: info.Length}, packet); err != nil {
			t.Fatal(err)
		}
		old, err := newReader("fuzz", &again)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := old.next(); err != nil || !bytes.Equal(f.data, packet) || !f.at.Equal(info.Timestamp) {
			t.Fatalf("want the same of a pcap file, got %+v, %v", f, err)
		}
	})
}
