package capture

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

const (
	// writeBuffer collects what is written in one go while there is more.
	writeBuffer = 64 << 10

	// lookEvery is after how many packets the writer looks whether it is to
	// end, if the queue is never empty.
	lookEvery = 256
)

// Stream writes the recording to w as pcapng: at once what it is, then packets
// as they come, until ctx is done or the count of the options is reached. What
// waits in the queue then is still written, and then the statistics. After that
// the recorder takes nothing more. Each time that the queue is empty everything
// is written out; a w with a method Flush or FlushError, such as that of a
// response of net/http, is flushed then.
//
// The error is that of w. A w that does not return holds up Stream, also when
// ctx is done, but never the relay.
func (r *Recorder) Stream(ctx context.Context, w io.Writer) error {
	if r.streaming.Swap(true) {
		return errStreamed
	}
	s := &stream{recorder: r, to: w, buffer: bufio.NewWriterSize(w, writeBuffer), packet: make([]byte, maxPacket)}
	err := s.run(ctx)
	r.end()
	for r.queue.take(&s.entry, s.packet) { // after an error
		s.lost++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Dropped += s.recorded + s.lost
	return err
}

// A stream is the state of Recorder.Stream.
type stream struct {
	recorder *Recorder
	to       io.Writer
	buffer   *bufio.Writer
	ng       *pcapgo.NgWriter

	packet []byte // the headers at its beginning end where the payload begins
	entry  entry
	origin netip.AddrPort // of the packet before, for they come in runs
	dest   netip.AddrPort // for that

	recorded uint64 // since the buffer was last written out
	lost     uint64 // that could not be written
	said     uint64 // drops, in the last statistics
}

func (s *stream) run(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	done := ctx.Done()
	for {
		_, ended := s.recorder.look() // before the packets: what was put until then is there
		more, err := s.packets()
		if err != nil {
			return err
		}
		if more {
			select {
			case <-done:
				s.recorder.end()
				done = nil
			default:
			}
			continue
		}
		if ended {
			return s.finish()
		}
		if err := s.pause(); err != nil {
			return err
		}
		select {
		case <-s.recorder.ready:
		case <-done:
			s.recorder.end()
			done = nil
		}
	}
}

// begin writes the header of the section and the description of the relay.
func (s *stream) begin() (err error) {
	o := &s.recorder.options
	program := strings.TrimSpace("udprelay " + o.Version)
	intf := pcapgo.NgInterface{
		Name:        "udprelay",
		Description: fmt.Sprintf("datagrams relayed at %s", o.To),
		Comment:     o.comment(program),
		Filter:      o.filter(),
		LinkType:    layers.LinkTypeRaw,
		SnapLength:  uint32(o.SnapLen),
	}
	s.ng, err = pcapgo.NewNgWriterInterface(s.buffer, intf, pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: program},
	})
	if err != nil {
		return err
	}
	return s.flush()
}

// comment says what a reader of the recording must know.
func (o *Options) comment(program string) string {
	text := program + ": each datagram that was relayed, once, as it came from its origin; the headers are made. " +
		"Left out: keep-alives, and what was refused or not relayed for another reason"
	if len(o.Peers) > 0 {
		text += "; datagrams from others than those of the filter"
	}
	if o.SnapLen > 0 {
		text += fmt.Sprintf("; what is beyond the first %d bytes of a packet", o.SnapLen)
	}
	text += "."
	if o.To.Addr().IsUnspecified() {
		text += " The relay listens on all addresses: 0.0.0.0 and :: stand for one that is not known."
	}
	return text
}

// filter returns the peers as libpcap writes them.
func (o *Options) filter() string {
	var terms []string
	for _, p := range o.Peers {
		terms = append(terms, "("+p.filter()+")")
	}
	return strings.Join(terms, " or ")
}

// packets writes what is in the queue, up to lookEvery, and reports whether
// there may be more.
func (s *stream) packets() (more bool, err error) {
	for range lookEvery {
		if !s.recorder.queue.take(&s.entry, s.packet[mostHeaders:]) {
			return false, nil
		}
		if err := s.write(); err != nil {
			s.lost++
			return false, err
		}
		s.recorded++
	}
	return true, nil
}

// write writes the packet of s.entry, whose payload is in s.packet.
func (s *stream) write() error {
	e := &s.entry
	if e.from != s.origin || !s.dest.IsValid() {
		s.origin, s.dest = e.from, s.recorder.destination(e.from)
	}
	sum := uint64(e.sum)
	if e.stored == e.payload {
		sum = onesSum(s.packet[mostHeaders:][:e.stored])
	}
	packet := s.packet[mostHeaders-headers(e.from.Addr()):]
	head := putHeaders(packet, e.from, s.dest, e.payload, sum)
	info := gopacket.CaptureInfo{Timestamp: time.Unix(0, e.at), CaptureLength: head + e.stored, Length: head + e.payload}
	var options pcapgo.NgPacketOptions
	if e.missing > 0 {
		options.DropCount = &e.missing
		options.Comments = []string{fmt.Sprintf("udprelay: %d datagrams before this one are missing: the recording could not keep up", e.missing)}
	}
	return s.ng.WritePacketWithOptions(info, packet[:info.CaptureLength], options)
}

// pause writes out everything, as nothing more is there, and says what is
// missing, for the packet that would say so may not come.
func (s *stream) pause() error {
	s.dest = netip.AddrPort{} // a peer may come to send to another address
	if stats, _ := s.recorder.look(); stats.Dropped > s.said {
		if err := s.statistics(stats); err != nil {
			return err
		}
	}
	return s.flush()
}

// finish ends the recording.
func (s *stream) finish() error {
	stats, _ := s.recorder.look()
	if err := s.statistics(stats); err != nil {
		return err
	}
	return s.flush()
}

// statistics writes how many datagrams passed and how many of them are missing.
func (s *stream) statistics(stats Stats) error {
	s.said = stats.Dropped
	now := time.Now()
	return s.ng.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{
		LastUpdate:      now,
		StartTime:       s.recorder.began,
		EndTime:         now,
		PacketsReceived: stats.Passed,
		PacketsDropped:  stats.Dropped,
	})
}

// flush has everything reach who reads.
func (s *stream) flush() error {
	if err := s.ng.Flush(); err != nil {
		return err
	}
	s.recorder.mu.Lock()
	s.recorder.stats.Recorded += s.recorded
	s.recorder.mu.Unlock()
	s.recorded = 0
	switch w := s.to.(type) {
	case interface{ FlushError() error }:
		return w.FlushError()
	case interface{ Flush() error }:
		return w.Flush()
	case interface{ Flush() }:
		w.Flush()
	}
	return nil
}
