package config

import (
	"net/netip"

	"github.com/google/go-cmp/cmp"
)

// comparePrefixes lets cmp compare addresses, whose fields it cannot see.
var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// texts returns warnings as they are said.
func texts(warnings []Warning) (list []string) {
	for _, w := range warnings {
		list = append(list, w.String())
	}
	return list
}
