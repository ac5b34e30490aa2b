package peers_test

import (
	"testing"

	"udprelay/peers"
)

func TestPathFailsUntilEveryFailureIsForgotten(t *testing.T) {
	var path peers.Path
	if path.Failing() {
		t.Error("want a new path not to be failing, got failing")
	}
	for _, failures := range []peers.Failures{{Unreachable: 1}, {Refused: 1}, {Since: 1}} {
		if path.Failures = failures; !path.Failing() {
			t.Errorf("want %+v to be failing, got not", failures)
		}
	}
	if path.Failures = (peers.Failures{}); path.Failing() {
		t.Error("want a path whose failures are forgotten not to be failing, got failing")
	}
}
