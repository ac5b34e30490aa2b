package config

// Changed returns the keys that have another value in new than in old, such as
// socket.trains, in the order of config.yaml. A list counts as one key.
func Changed(old, new *Config) (paths []string) {
	visit(schema, "", func(k *key, path string) {
		if equal := k.equal(); equal != nil && !equal(old, new) {
			paths = append(paths, path)
		}
	})
	return paths
}

// equal returns what compares two values of k, or nil if k belongs to the items
// of a list.
func (k *key) equal() comparer {
	if k.list != nil {
		return k.list.equal
	}
	return k.value.equal
}

// equalField compares what field returns.
func equalField[T comparable](field func(*Config) *T) comparer {
	return func(a, b *Config) bool { return *field(a) == *field(b) }
}
