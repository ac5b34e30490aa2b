package relay

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// maxMessages is how many messages are gathered for one sendmmsg; the kernel
// takes up to 1,024 (UIO_MAXIOV). Fewer stay in the processor's cache.
const maxMessages = 256

// firstMessages is how many are gathered for the first sendmmsg of a batch, and
// twice as many for each that follows: so the first receiver does not wait until
// the messages for all others are written, which costs a lone datagram some
// microseconds.
const firstMessages = 8

// What is gathered for one sendmmsg is bounded to about a millisecond of the
// kernel's time, see [linuxSocket] for why.
const (
	maxGathered      = 2048    // datagrams
	maxGatheredBytes = 1 << 20 // of payload: long datagrams are split into many packets
)

// segmentControl is what the control message UDP_SEGMENT takes, in bytes.
var segmentControl = unix.CmsgSpace(2)

// A trainSender sends each receiver its trains, many in one system call. It
// belongs to one goroutine.
//
// The contract that matters: a message that the kernel refuses costs only its
// own receiver. Sendmmsg stops there; the refusal is dealt with (see refused)
// and sending goes on behind it.
type trainSender struct {
	socket  *linuxSocket
	turns   *turns // nil: not of the goroutine that receives
	longest int    // datagrams in a train; 1: no trains

	// Of the batch in hand.
	batch  *batch
	to     share
	host   *host
	tally  *tally
	shared plan   // for all who have not spoken in the batch
	own    []plan // for each speaker
	sizes  []int
	waited bool     // for room in the send buffer
	late   bool     // the relay is stopped, and there is no time left to send
	trial  [1]train // of a peer that is tried again
	looked int64    // when it was looked how full the buffer is

	messages []message // gathered
	enough   int       // of them for the next sendmmsg
	gathered int       // datagrams in them
	bytes    int       // of payload in them
	headers  [maxMessages]mmsghdr
	names    [maxMessages]unix.RawSockaddrInet6
	controls []byte // for each message

	// The system calls, which tests replace.
	sendmmsg  func([]mmsghdr) (int, unix.Errno)
	probe     func(*unix.Msghdr) unix.Errno // of the route of a message
	mute      func()                        // the errors of the network
	waitWrite func()
	queued    func() int // how much of the send buffer is in use

	ask   func(fd uintptr) // for inUse
	inUse int              // of the send buffer
	call  func(fd uintptr)
	out   []mmsghdr // of the call: in
	sent  int       // of the call: result
	errno unix.Errno
}

// A plan says how datagrams of a batch leave for a receiver.
type plan struct {
	made    bool
	vectors []unix.Iovec
	trains  []train
}

// newPlans returns so many, each with room for a batch. What no batch has
// needed yet takes no memory: it is of pages that nobody has touched.
func newPlans(count int) []plan {
	plans := make([]plan, count)
	vectors, trains := make([]unix.Iovec, count*maxBatch), make([]train, count*maxBatch)
	for i := range plans {
		at := i * maxBatch
		plans[i].vectors, plans[i].trains = vectors[at:at:at+maxBatch], trains[at:at:at+maxBatch]
	}
	return plans
}

// A message is an entry of headers: what it sends and to whom.
type message struct {
	peer *peers.Peer
	plan *plan
	train
}

func (s *linuxSocket) newSender(turns *turns) sender {
	out := &trainSender{
		socket:   s,
		turns:    turns,
		longest:  maxBatch,
		own:      newPlans(maxBatch),
		shared:   newPlans(1)[0],
		sizes:    make([]int, 0, maxBatch),
		messages: make([]message, 0, maxMessages),
		controls: make([]byte, maxMessages*(sourceSpace+segmentControl)),
	}
	if s.noTrains != "" {
		out.longest = 1
	}
	out.sendmmsg, out.waitWrite, out.queued = out.sendmmsgCall, out.waitWriteCall, out.queuedCall
	out.probe, out.mute = out.probeCall, s.muteErrors
	out.ask = func(fd uintptr) { out.inUse = queued(fd) }
	out.call = func(fd uintptr) {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(unsafe.SliceData(out.out))), uintptr(len(out.out)), unix.MSG_DONTWAIT, 0, 0)
		out.sent, out.errno = int(n), errno
	}
	return out
}

func (s *trainSender) send(b *batch, to share, t *tally) error {
	s.batch, s.to, s.tally, s.waited = b, to, t, s.waited && to.more
	s.late = s.socket.over()
	s.messages, s.gathered, s.bytes = s.messages[:0], 0, 0 // an error may have left some
	if !to.more {
		s.enough = firstMessages
		if s.socket.coalesce > 0 {
			s.socket.lookForTrains(b, to.all)
		}
	}
	s.host = s.socket.own.host.Load()
	s.shared.made = false
	for i := range b.speakers {
		s.own[i].made = false
	}
	if b.at-s.looked >= int64(lookEvery) {
		s.looked = b.at
		if s.queued() > int(s.socket.room.Load())/pressed {
			s.socket.neighbours.relieve(to.all, b.at)
		}
	}
	for _, run := range to.runs() {
		if err := s.gatherAll(run); err != nil {
			return err
		}
	}
	return s.flush()
}

// gatherAll adds the messages for receivers in ascending order of number.
func (s *trainSender) gatherAll(run []*peers.Peer) error {
	b := s.batch
	spoke := walkFrom(b.speakers, run)
	for _, p := range run {
		plan := &s.shared
		if spoke.meets(p) {
			plan = &s.own[len(b.speakers)-len(spoke.left)]
		}
		if !plan.made {
			if plan == &s.shared {
				s.make(plan, nil)
			} else {
				s.make(plan, p)
			}
		}
		n := len(plan.vectors)
		if n == 0 {
			continue
		}
		reason, out := b.leavesOut(p)
		trains, sent := plan.trains, n
		if until := p.Path.HoldUntil.Load(); out {
			sent = 0
		} else if until != 0 {
			if sent = s.retry(p, until, n); sent == 1 {
				s.trial[0] = plan.trains[0].lone(0, plan)
				first := &plan.vectors[0]
				b.sent.noteTrial(unsafe.Slice(first.Base, first.Len), b.at)
				trains = s.trial[:]
			}
		}
		if sent < n {
			s.tally.dropOf(p, reason, n-sent)
		}
		if sent == 0 {
			continue
		}
		if err := s.gather(p, plan, trains); err != nil {
			return err
		}
	}
	return nil
}

// make fills the plan with the datagrams of the batch that are not by origin.
func (s *trainSender) make(plan *plan, origin *peers.Peer) {
	plan.made = true
	plan.vectors = plan.vectors[:0]
	s.sizes = s.sizes[:0]
	for i := range s.batch.datagrams {
		if origin != nil && s.batch.origins[i] == origin {
			continue
		}
		payload := s.batch.datagrams[i].Payload
		vector := unix.Iovec{Base: unsafe.SliceData(payload)}
		vector.SetLen(len(payload))
		plan.vectors = append(plan.vectors, vector)
		s.sizes = append(s.sizes, len(payload))
	}
	plan.trains = cut(plan.trains[:0], s.sizes, s.longest)
}

// gather adds messages for p, trains of the plan, and sends when there are enough.
func (s *trainSender) gather(p *peers.Peer, plan *plan, trains []train) error {
	limit := p.Path.TrainLimit.Load()
	for _, t := range trains {
		if t.size > maxTrainBytes && p.Addr().Addr().Is4() {
			// It came by IPv6, which has room for some more. To try would cost
			// a place in the error queue each time.
			s.tally.dropOf(p, DropTooBig, 1)
			continue
		}
		if t.count > 1 && limit != 0 && t.size >= int(limit) {
			for i := range t.count {
				if err := s.add(message{p, plan, t.lone(i, plan)}); err != nil {
					return err
				}
			}
			continue
		}
		if err := s.add(message{p, plan, t}); err != nil {
			return err
		}
	}
	return nil
}

// lone returns the i-th datagram of the train as a train of one.
func (t train) lone(i int, plan *plan) train {
	size := int(plan.vectors[t.first+i].Len)
	return train{first: t.first + i, count: 1, size: size, bytes: size}
}

func (s *trainSender) add(m message) error {
	if s.late {
		s.tally.dropOf(m.peer, DropStopped, m.count)
		return nil
	}
	s.put(len(s.messages), m)
	s.messages = append(s.messages, m)
	s.gathered += m.count
	s.bytes += m.train.bytes
	long := len(s.messages) == maxMessages || s.gathered >= maxGathered || s.bytes >= maxGatheredBytes
	if len(s.messages) < s.enough && !long {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.enough = min(2*s.enough, maxMessages)
	// With many peers a batch takes long.
	if long {
		runtime.Gosched()
	}
	s.turns.between()
	s.late = s.socket.over()
	return nil
}

// put writes m into entry i of headers.
func (s *trainSender) put(i int, m message) {
	h := &s.headers[i].header
	h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
	h.Namelen = s.socket.putAddr(&s.names[i], m.peer.Addr())
	h.Iov = &m.plan.vectors[m.first]
	h.SetIovlen(m.count)

	space := sourceSpace + segmentControl
	control := append(s.controls[i*space:i*space:(i+1)*space], sourceControl(m.peer, s.host)...)
	if m.count > 1 {
		control = appendSegmentSize(control, m.size)
	}
	h.Control = nil
	if len(control) > 0 {
		h.Control = &control[0]
	}
	h.SetControllen(len(control))
}

// appendSegmentSize appends the control message that makes the kernel split a
// train into datagrams of size bytes (UDP_SEGMENT, udp(7)).
func appendSegmentSize(control []byte, size int) []byte {
	at := len(control)
	control = control[:at+segmentControl]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[at]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[at+unix.CmsgLen(0):], uint16(size))
	return control
}

// flush sends what is gathered.
func (s *trainSender) flush() error {
	for done := 0; done < len(s.messages); {
		n, errno := s.sendmmsg(s.headers[done:len(s.messages)])
		if errno == 0 && n > 0 {
			s.delivered(s.messages[done : done+n])
			done += n
			continue
		}
		again, err := s.refused(done, errno)
		if err != nil {
			return err
		}
		if !again {
			done++
		}
	}
	s.messages, s.gathered, s.bytes = s.messages[:0], 0, 0
	return nil
}

// delivered counts messages that the kernel has taken. Those for one peer come
// one after the other, and are counted for it at once.
func (s *trainSender) delivered(messages []message) {
	for len(messages) > 0 {
		p := messages[0].peer
		count, bytes := uint64(0), uint64(0)
		for len(messages) > 0 && messages[0].peer == p {
			count += uint64(messages[0].count)
			bytes += uint64(messages[0].train.bytes)
			messages = messages[1:]
		}
		p.Path.Counts.Delivered.Add(count)
		p.Path.Counts.DeliveredBytes.Add(bytes)
		s.tally.Delivered += count
		s.tally.DeliveredBytes += bytes
	}
}

func (s *trainSender) sendmmsgCall(headers []mmsghdr) (int, unix.Errno) {
	s.out = headers
	if err := s.socket.raw.Control(s.call); err != nil {
		return 0, unix.EBADF
	}
	return s.sent, s.errno
}

func (s *trainSender) queuedCall() int {
	if s.socket.raw.Control(s.ask) != nil {
		return 0
	}
	return s.inUse
}
