package relay

// A train is a run of datagrams that leave for one peer in one message.
type train struct {
	first int // index of its first datagram
	count int // datagrams; a lone one is a train of 1
	size  int // of each but the last, in bytes
	bytes int // of all together
}

// maxTrainBytes is what one message may carry: an IPv4 packet's 65,535 bytes
// less the headers of IPv4 and UDP. Before the kernel splits a train it is one
// packet.
const maxTrainBytes = 65535 - 20 - 8

// cut puts datagrams, given by their sizes in order, into as few trains as
// their order allows, each of at most longest, and appends them to trains.
func cut(trains []train, sizes []int, longest int) []train {
	var t train
	for i, size := range sizes {
		if open := t.count > 0; open && (size > t.size || t.count == longest || t.bytes+size > maxTrainBytes || t.bytes < t.count*t.size) {
			trains = append(trains, t)
			t = train{}
		}
		if t.count == 0 {
			t.first, t.size = i, size
		}
		t.count++
		t.bytes += size
	}
	if t.count > 0 {
		trains = append(trains, t)
	}
	return trains
}
