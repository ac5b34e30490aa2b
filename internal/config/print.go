package config

import (
	"bytes"
	"fmt"
	"strings"
)

// YAML returns c in the layout of config.yaml, each key written out, so that
// Load makes the same Config of it, but for passwords, which are not shown.
func (c *Config) YAML() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "listen: %q\n", c.Listen)

	fmt.Fprintf(&b, "\npeers:\n")
	fmt.Fprintf(&b, "  expiry: %s\n", formatDuration(c.Peers.Expiry))
	fmt.Fprintf(&b, "  max: %d\n", c.Peers.Max)
	fmt.Fprintf(&b, "  max_per_address: %d\n", c.Peers.MaxPerAddress)
	fmt.Fprintf(&b, "  joins_per_second: %d\n", c.Peers.JoinsPerSecond)
	fmt.Fprintf(&b, "  joins_per_second_per_address: %d\n", c.Peers.JoinsPerSecondPerAddress)
	fmt.Fprintf(&b, "  static:%s\n", brackets(len(c.Peers.Static)))
	for _, peer := range c.Peers.Static {
		fmt.Fprintf(&b, "  - address: %s\n", quoteIfNeeded(peer.Address))
	}

	fmt.Fprintf(&b, "\naccess:%s\n", brackets(len(c.Access)))
	for _, rule := range c.Access {
		fmt.Fprintf(&b, "- from: %s\n  may: %s\n  join: %s\n", quoteIfNeeded(rule.From), rule.May, rule.Join)
	}

	fmt.Fprintf(&b, "\njoin:\n")
	fmt.Fprintf(&b, "  secret_file: %q\n", c.Join.SecretFile)

	fmt.Fprintf(&b, "\nlimits:\n")
	fmt.Fprintf(&b, "  peer_datagrams_per_second: %d\n", c.Limits.PeerDatagramsPerSecond)
	fmt.Fprintf(&b, "  peer_bytes_per_second: %s\n", formatSizeOrNone(c.Limits.PeerBytesPerSecond))
	fmt.Fprintf(&b, "  egress_bytes_per_second: %s\n", formatSizeOrNone(c.Limits.EgressBytesPerSecond))

	fmt.Fprintf(&b, "\nsocket:\n")
	fmt.Fprintf(&b, "  receive_buffer: %s\n", formatSize(c.Socket.ReceiveBuffer))
	fmt.Fprintf(&b, "  send_buffer: %s\n", formatSize(c.Socket.SendBuffer))
	fmt.Fprintf(&b, "  senders: %d\n", c.Socket.Senders)
	fmt.Fprintf(&b, "  trains: %s\n", c.Socket.Trains)
	fmt.Fprintf(&b, "  coalesce: %s\n", formatDurationOrNone(c.Socket.Coalesce))

	c.Gateway.yaml(&b)
	c.Cluster.yaml(&b)

	fmt.Fprintf(&b, "\nadmin:\n")
	fmt.Fprintf(&b, "  socket: %q\n", c.Admin.Socket)
	fmt.Fprintf(&b, "  group: %q\n", c.Admin.Group)
	fmt.Fprintf(&b, "  http: %q\n", c.Admin.HTTP)
	fmt.Fprintf(&b, "  metrics_per_peer: %t\n", c.Admin.MetricsPerPeer)

	fmt.Fprintf(&b, "\nstate:\n")
	fmt.Fprintf(&b, "  file: %q\n", c.State.File)

	fmt.Fprintf(&b, "\nlog:\n")
	fmt.Fprintf(&b, "  level: %s\n", strings.ToLower(c.Log.Level.String()))
	fmt.Fprintf(&b, "  format: %s\n", c.Log.Format)
	return b.Bytes()
}

// yaml writes the section gateway.
func (g *Gateway) yaml(b *bytes.Buffer) {
	fmt.Fprintf(b, "\ngateway:\n")
	fmt.Fprintf(b, "  tcp:\n    listen: %q\n", g.TCP.Listen)
	fmt.Fprintf(b, "  tls:\n    listen: %q\n", g.TLS.Listen)
	fmt.Fprintf(b, "    certificate: %q\n    key: %q\n    client_ca: %q\n", g.TLS.Certificate, g.TLS.Key, g.TLS.ClientCA)
	fmt.Fprintf(b, "  websocket:\n    listen: %q\n    tls: %t\n", g.WebSocket.Listen, g.WebSocket.TLS)
	fmt.Fprintf(b, "    path: %s\n    origins:%s\n", quoteIfNeeded(g.WebSocket.Path), brackets(len(g.WebSocket.Origins)))
	for _, origin := range g.WebSocket.Origins {
		fmt.Fprintf(b, "    - %s\n", quoteIfNeeded(origin))
	}
	fmt.Fprintf(b, "  connections: %d\n", g.Connections)
	fmt.Fprintf(b, "  queue: %s\n", formatSize(g.Queue))
	fmt.Fprintf(b, "  idle: %s\n", formatDurationOrNone(g.Idle))
}

// yaml writes the section cluster, without passwords.
func (c *Cluster) yaml(b *bytes.Buffer) {
	comment := ""
	if hasHidden(c.ShownURL()) {
		comment = "  # the password is not shown"
	}
	fmt.Fprintf(b, "\ncluster:\n")
	fmt.Fprintf(b, "  name: %q\n  room: %s\n", c.Name, quoteRoom(c.Room))
	fmt.Fprintf(b, "  listen: %q\n  advertise: %q\n  routes:%s\n", c.Listen, c.Advertise, brackets(len(c.Routes)))
	for _, route := range c.Routes {
		fmt.Fprintf(b, "  - %s\n", quoteIfNeeded(route))
	}
	fmt.Fprintf(b, "  url: %q%s\n", c.ShownURL(), comment)
	fmt.Fprintf(b, "  secret_file: %q\n  credentials: %q\n", c.SecretFile, c.Credentials)
	fmt.Fprintf(b, "  tls:\n    certificate: %q\n    key: %q\n    ca: %q\n", c.TLS.Certificate, c.TLS.Key, c.TLS.CA)
	fmt.Fprintf(b, "  insecure: %t\n  queue: %s\n", c.Insecure, formatSize(c.Queue))
}

// brackets is what stands after the key of a list of n items.
func brackets(n int) string {
	if n == 0 {
		return " []"
	}
	return ""
}

// quoteRoom quotes a room that YAML would take for something else.
func quoteRoom(room string) string {
	if strings.Trim(room[:1], "-0123456789") == "" || strings.EqualFold(room, "null") {
		return fmt.Sprintf("%q", room)
	}
	return room
}

// quoteIfNeeded quotes an address, a path or an origin that YAML would take for
// something else, such as the addresses of IPv6. Checked values hold nothing that
// YAML and Go escape differently.
func quoteIfNeeded(text string) string {
	if strings.Count(text, ":") > 1 || strings.HasSuffix(text, ":") || text == anyOrigin {
		return fmt.Sprintf("%q", text)
	}
	return text
}
