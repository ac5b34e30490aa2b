package peers

import (
	"testing"
	"unsafe"
)

// Where there are many peers, a look-up costs the cache lines that it touches.
func TestPeerFillsTwoCacheLines(t *testing.T) {
	if size := unsafe.Sizeof(Peer{}); size > 128 {
		t.Errorf("want a peer of at most 128 bytes, got %d", size)
	}
}
