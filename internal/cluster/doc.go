// Package cluster makes several daemons one relay, over NATS: what a peer of
// one of them says reaches the peers of all. [Start] makes a relay a node of a
// room; the nodes of other rooms may share the NATS servers.
//
// # The way of a datagram
//
//	relay → Deliver → queue → publisher → NATS → receive → decode → Bring → relay
//	        (copies)  (bytes)  (seals)    routes   (opens)
//
// Deliver copies datagrams into the message that is being filled, and returns;
// if the queue is full they are dropped. One goroutine publishes messages. It
// takes what there is, so that a lone datagram does not wait, and while one
// message is on its way the next gathers more, up to 66 KiB. NATS takes it to
// each other node of the room, which brings the datagrams to its relay. What was
// brought is not delivered to who brought it, so that nothing goes round.
//
// Each node runs a NATS server within the daemon, and the servers connect to
// each other, each to each, and tell of those they know; or all nodes connect
// to a NATS deployment that is there ([Options.URL]).
//
// The relay never waits for the cluster, and no node for another. These may
// fill, and what comes then is dropped and counted:
//
//   - the queue on the way out: [Options.Queue] bytes;
//   - what waits for a route of the server in the daemon: 12 MiB, or what can
//     not be written for 2 s, then the route is cut and made again. The sender
//     does not know of that, the receiver counts it as [DropLost];
//   - what waits for the relay on the way in: [Options.Queue] bytes, dropped as
//     [DropSlow]. If there is no processor free even to put it there, the server
//     in the daemon gives up its connection to the node at 16 MiB, and it is
//     made again at once; what is missing then is [DropLost] too.
//
// # At most once, in order
//
// A node numbers its datagrams. Who receives a message knows the number that
// is to come: if the message's is greater, some are lost; if it is less, the
// message is dropped as a duplicate, though it may be late. So each datagram is
// brought at most once, and those of one node in their order. A node that is
// started again has a new identity. One that is silent is remembered for ten
// minutes.
//
// # Secrets
//
// With [Options.Secret] each message is sealed with AES-256-GCM (NIST SP
// 800-38D), with a key that HKDF-SHA256 (RFC 5869) derives from the secret, the
// room and the identity of the sender. Who does not have the secret can read
// and forge nothing, also with access to the NATS servers or the network; TLS
// is not needed for that. Nodes of different secrets in one room pass each other
// over. Routes also want a password, derived from the secret, so that a server
// without it does not get in. That password can be seen on a network without
// TLS, and lets in who saw it, to disturb, but not to read or speak. Who
// records messages can repeat those of a node that nobody remembers.
//
// Without a secret who can reach the NATS servers can read and speak. So a node
// listens beyond the loopback interface only with a secret, with TLS, or with
// [Options.InsecureListen].
//
// # Messages
//
// The subject is udprelay.ROOM.data for datagrams and udprelay.ROOM.control for
// heartbeats. Numbers are big-endian. A message has at most 67584 bytes:
//
//	 0  3  "UDR"
//	 3  1  version: 1. Others are dropped as DropUnknownVersion
//	 4  1  kind: 1 datagrams, 2 heartbeat
//	 5  1  flags: 1 if sealed; no others
//	 6  2  count of datagrams; 0 for a heartbeat
//	 8  8  the sender's identity, random at each start
//	16  8  number of the first datagram, or of the heartbeat, from 1
//	24     body
//
// In a sealed message the body is encrypted, and a tag of 16 bytes follows; the
// header is authenticated. The nonce is the kind, three bytes of 0, and the
// number. A body of datagrams is, for each:
//
//	1      0: from the same origin as the one before; 1: from no address;
//	       4, 6: IPv4, IPv6
//	4, 16  if 4 or 6, the address of its origin, without zone
//	2      if 4 or 6, the port
//	2      length of the payload, not 0
//	       payload
//
// A heartbeat is JSON, sent each second: name, version, peers, in and out
// (datagrams a second), at (nanoseconds since the start), leaving, and echo,
// from which others know their round trip.
package cluster
