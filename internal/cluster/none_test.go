//go:build nocluster

package cluster

import (
	"context"
	"reflect"
	"strings"
	"testing"
)

func TestBuildWithoutClustersSaysSo(t *testing.T) {
	c, err := Start(context.Background(), nil, Options{Room: "test"})
	if c != nil || err == nil || !strings.Contains(err.Error(), "build tag nocluster") || Available() {
		t.Errorf("want it said that there are no clusters in this build; got %v, %v", c, err)
	}
}

// Who has one anyway can use it.
func TestNoClusterDoesNothing(t *testing.T) {
	c := new(Cluster)
	c.Deliver(nil)
	c.Changed()
	c.Close()
	if _, err := c.Ask(context.Background(), "", nil); err != ErrNoNode {
		t.Errorf("want %v; got %v", ErrNoNode, err)
	}
	if c.Addr() != nil || c.ID() != "" || c.AwaitShared(context.Background()) != nil || !reflect.DeepEqual(c.Stats(), Stats{}) {
		t.Error("want a cluster of nobody")
	}
}
