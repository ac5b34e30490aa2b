package config

import (
	"fmt"
	"slices"
	"strings"
)

// A Cluster is how the daemon becomes one relay with others.
type Cluster struct {
	Name string // of this node, at most 64 bytes; "": that of the host
	Room string // nodes of one room are one relay: 1 to 64 letters, digits, - and _

	Listen    string   // host:port where other nodes connect, as Config.Listen; "" or None: they do not
	Advertise string   // host:port that other nodes are told to connect to; "" or None: where they see this one
	Routes    []string // host:port of other nodes

	// URL is of a NATS deployment, several separated by commas, in which case
	// there are no Listen, Advertise, Routes and Insecure; "" or None: nodes
	// connect to each other. It may have a password in it: [Cluster.ShownURL]
	// has none.
	URL string

	// SecretFile, Credentials and those of TLS are the absolute names of files,
	// or "" or None.
	SecretFile  string // the secret that all nodes share
	Credentials string // of NATS, for URL

	// TLS is between the nodes, which then need all three, or for URL, where
	// Certificate and Key are there together or not at all.
	TLS struct {
		Certificate, Key, CA string // PEM; CA has what the certificates of others must be signed by
	}

	Insecure bool // whoever reaches Listen may take part
	Queue    int  // bytes that may wait each way, 256 KiB to 1 GiB
}

const (
	// As package cluster has them.
	maxNodeName, maxRoom                = 64, 64 // bytes
	maxRoutes                           = 256
	leastClusterQueue, mostClusterQueue = 256 << 10, 1 << 30 // bytes

	// maxURL is room for a dozen URLs.
	maxURL = 1500 // bytes
)

const (
	clusterListenKey   = "cluster.listen"
	advertiseKey       = "cluster.advertise"
	routesKey          = "cluster.routes"
	natsKey            = "cluster.url"
	clusterSecretKey   = "cluster.secret_file"
	credentialsKey     = "cluster.credentials"
	nodeCertificateKey = "cluster.tls.certificate"
	nodePrivateKey     = "cluster.tls.key"
	nodeCAKey          = "cluster.tls.ca"
	clusterInsecureKey = "cluster.insecure"
)

const (
	clusterListenWant = `host:port such as ":6222" or "192.0.2.1:6222", or none or "" to turn it off`
	advertiseWant     = `host:port such as relay-a.example:6222, or none or "" for where they see this one`
	routeWant         = `host:port such as relay-b.example:6222 or "[2001:db8::1]:6222"`
)

var (
	nodeNameWant = fmt.Sprintf(`a text of at most %d bytes without blanks around it, or "" for the name of the host`, maxNodeName)
	roomWant     = fmt.Sprintf("1 to %d letters, digits, - and _", maxRoom)
)

// clusterKeys is the section cluster.
var clusterKeys = []key{
	{name: "name", value: &value{want: nodeNameWant, optional: true, set: setNodeName, equal: equalField(func(c *Config) *string { return &c.Cluster.Name })}},
	{name: "room", value: &value{want: roomWant, set: setRoom, equal: equalField(func(c *Config) *string { return &c.Cluster.Room })}},
	{name: "listen", value: &value{want: clusterListenWant, optional: true, set: setClusterListen, equal: equalOrNone(func(c *Config) *string { return &c.Cluster.Listen })}},
	{name: "advertise", value: &value{want: advertiseWant, optional: true, set: setAdvertise, equal: equalOrNone(func(c *Config) *string { return &c.Cluster.Advertise })}},
	{name: "routes", list: &routeList},
	{name: "url", value: &value{want: urlWant, optional: true, most: maxURL, hidden: true, set: setURL, equal: equalOrNone(func(c *Config) *string { return &c.Cluster.URL })}},
	{name: "secret_file", value: absoluteOrNone("/etc/udprelay/cluster.secret", func(c *Config) *string { return &c.Cluster.SecretFile })},
	{name: "credentials", value: absoluteOrNone("/etc/udprelay/nats.creds", func(c *Config) *string { return &c.Cluster.Credentials })},
	{name: "tls", keys: []key{
		{name: "certificate", value: absoluteOrNone("/etc/udprelay/node.crt", func(c *Config) *string { return &c.Cluster.TLS.Certificate })},
		{name: "key", value: absoluteOrNone("/etc/udprelay/node.key", func(c *Config) *string { return &c.Cluster.TLS.Key })},
		{name: "ca", value: absoluteOrNone("/etc/udprelay/nodes.crt", func(c *Config) *string { return &c.Cluster.TLS.CA })},
	}},
	{name: "insecure", value: yesOrNo(func(c *Config) *bool { return &c.Cluster.Insecure })},
	{name: "queue", value: size(leastClusterQueue, mostClusterQueue, func(c *Config) *int { return &c.Cluster.Queue })},
}

var routeList = list{
	want:   `a list of nodes such as "- relay-b.example:6222", or [] for none`,
	most:   maxRoutes,
	item:   []key{{value: &value{want: routeWant, set: setRoute}}},
	length: func(l *loader) int { return len(l.config.Cluster.Routes) },
	equal:  func(a, b *Config) bool { return slices.Equal(a.Cluster.Routes, b.Cluster.Routes) },
	clear:  func(l *loader, _ origin) { l.config.Cluster.Routes, l.cluster.routes = nil, nil },
	add: func(l *loader, at origin) {
		l.config.Cluster.Routes = append(l.config.Cluster.Routes, "")
		l.cluster.routes = append(l.cluster.routes, addressed{at: at})
	},
}

func setNodeName(l *loader, text string) (wrong string) {
	l.config.Cluster.Name = text
	if wrong := badCharacter(text, nodeNameWant); wrong != "" {
		return wrong
	}
	switch trimmed := strings.TrimSpace(text); {
	case trimmed != text:
		return fmt.Sprintf("%q has blanks around it; want %s", text, nodeNameWant)
	case len(text) > maxNodeName:
		return fmt.Sprintf("%q has %d bytes; want %s", shorten(text), len(text), nodeNameWant)
	}
	return ""
}

func setRoom(l *loader, text string) (wrong string) {
	l.config.Cluster.Room = text
	if len(text) > maxRoom || strings.ContainsFunc(text, func(r rune) bool { return !isNameRune(r) }) {
		return fmt.Sprintf("%q is no name of a room; want %s", shorten(text), roomWant)
	}
	return ""
}

func setClusterListen(l *loader, text string) (wrong string) {
	l.config.Cluster.Listen = text
	l.cluster.listen, wrong = parseOrNone(text, clusterListenWant, judgeListen)
	return wrong
}

func setAdvertise(l *loader, text string) (wrong string) {
	l.config.Cluster.Advertise = text
	if given(text) == "" {
		return ""
	}
	if near := closest(text, []string{None}); near != "" && !strings.Contains(text, ":") {
		return fmt.Sprintf("unknown word %q; did you mean %q?", text, near)
	}
	_, wrong = parseToReach(text, advertiseWant, "an address of this machine")
	return wrong
}

func setRoute(l *loader, text string) (wrong string) {
	last := len(l.cluster.routes) - 1
	l.config.Cluster.Routes[last] = text
	l.cluster.routes[last].addr, wrong = parseToReach(text, routeWant, "the address of one node")
	return wrong
}

// On reports whether the daemon is a node of a cluster.
func (c *Cluster) On() bool {
	return given(c.Listen)+given(c.URL) != "" || len(c.Routes) > 0
}

// usesTLS reports whether one of the files of TLS is named.
func (c *Cluster) usesTLS() bool {
	return given(c.TLS.Certificate)+given(c.TLS.Key)+given(c.TLS.CA) != ""
}
