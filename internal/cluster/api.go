package cluster

import (
	"errors"
	"fmt"
	"time"
)

const (
	// MaxQuestion is the length of the longest question, in bytes: 64 KiB.
	MaxQuestion = partBytes

	// MaxAnswer is the length of the longest answer, in bytes: 4 MiB.
	MaxAnswer = maxParts * partBytes
)

// An answer is sent in parts.
const (
	partBytes = 64 << 10
	maxParts  = 64
)

// silentFor is how long an asker waits for the next part of an answer, and how
// long an answer may be thought about.
const silentFor = 5 * time.Second

// Why a question of [Cluster.Ask] has no answer. Besides there are the error of
// its context, and [net.ErrClosed] when this node goes.
var (
	// ErrNoNode is of a node that is not here, or goes while it is asked.
	ErrNoNode = errors.New("no such node is here")

	// ErrBusy is of one question more than may be under way at once, or than may
	// wait at the node that is asked.
	ErrBusy = errors.New("too many questions at once")

	// ErrNoAnswer is of a question that the node does not answer.
	ErrNoAnswer = errors.New("the node does not answer such questions")

	// ErrTooLong is of a question or an answer that is longer than may be.
	ErrTooLong = fmt.Errorf("too long: want a question of at most %d bytes and an answer of at most %d", MaxQuestion, MaxAnswer)

	// ErrSilent is of a node of which no part of the answer came for 5 s.
	ErrSilent = fmt.Errorf("no answer came for %v", silentFor)
)

// Shared is what the nodes of a room agree on, such as a list to which each may
// add. Nodes that have heard from each other have the same in the end if Merge
// takes what is newer whatever the order in which it comes. Several goroutines
// call these methods, also from [Cluster.Stats].
type Shared interface {
	// Digest is the same on two nodes if they have the same.
	Digest() uint64

	// Export returns all of it, at most MaxAnswer bytes.
	Export() []byte

	// Merge takes what is newer in what the node of that name has exported.
	Merge(node string, p []byte) error
}
