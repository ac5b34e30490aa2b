package command

import (
	"os"
	"path/filepath"
	"testing"

	"udprelay/internal/admin"
)

// Who has not answered is not what a terminal that is too low leaves out.
func TestPeersOfAllNodesAreWatchedAsFarAsTheTerminalHasLines(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	stand(t, socket, threeNodes(crowd(100), nodeWith(crowd(100)), silentNode))
	s := startOnScreen(t, 60, 10, "peers", "--cluster", "--watch", "--socket", socket)
	lines := s.await(t, contains(" peers"))
	wantFits(t, lines, 60, 10)
	last := []string{"5 of 200 peers on 2 nodes", "node c has not answered: no answer in time"}
	if len(lines) != 9 || lines[7] != last[0] || lines[8] != last[1] {
		t.Errorf("want %q last in 9 lines, got %q", last, lines)
	}
	s.Signal(t, os.Interrupt)
	s.WantEnd(t, 0, "")
}

func TestTheClusterIsWatchedOnATerminal(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := &relayOf{status: clusterStatus()}
	stop := stand(t, socket, r)
	s := startOnScreen(t, 80, 40, "status", "--cluster", "--watch", "--socket", socket)
	lines := s.await(t, contains("3 nodes here, 2,251 peers in all"))
	wantFits(t, lines, 80, 40)
	stop()
	r.status.Cluster = admin.Cluster{}
	stand(t, socket, r)
	s.await(t, contains("cluster   this relay is no node of a cluster any more"))
	s.Signal(t, os.Interrupt)
	s.WantEnd(t, 0, "")
}
