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
//   - what waits for a route of the server in the daemon: one and a half
//     [Options.Queue], 12 MiB unless said otherwise, at least 3 and at most 48
//     MiB, besides the buffers of the system. A route that is slow stays, and
//     carries what it can; one that takes nothing at all for 2 to 4 s is cut and
//     made again. The sender does not know of that, the receiver counts it as
//     [DropLost]. So a message is late by no more than the time in which the
//     route carries that: over 10 Mbit/s with twice as much to carry, 10 s, and
//     with a queue of 2 MiB 5 s, 2 of which are buffers of the system;
//   - what waits for the relay on the way in: [Options.Queue] bytes, a message
//     of less than 128 taken for as many, dropped as [DropSlow]. If there is no
//     processor free even to put it there, the server in the daemon gives up its
//     connection to the node at twice that (4 to 64 MiB), and it is made again
//     at once; what is missing then is [DropLost] too.
//
// A NATS deployment that can not be reached is tried again and again, and one
// that ends the connection, with whatever error, is connected to again. Meanwhile
// what is to be published is dropped as [DropPublishFailed], and nothing waits.
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
// # Questions
//
// With [Cluster.Ask] a node asks one other, which answers with
// [Options.Answer]. A question goes once: who asks may ask again if there is an
// error. The parts of an answer come in any order; if one is missing the
// question ends 5 s after the last that came, or with its context. A node has
// at most 4 questions under way. It answers one at a time while at most 8 wait,
// and refuses more, so that the asker has [ErrBusy] at once.
//
// # What is shared
//
// The nodes of a room agree on what [Options.Shared] holds. Each beat has the
// digest of it. A node that hears another digest than its own asks that node
// for all it has, merges that, and beats at once if its own has changed by it.
// So does a node on which something has changed, see [Cluster.Changed]. It does
// not matter in which order nodes hear of each other, and one that comes later
// or was cut off gets the rest as any other does, from the first beat on that
// it hears. One node is asked at a time, for 20 s; one that takes longer is not
// asked again for a minute. If two still differ when one has merged
// all that the other has, they do not ask again for a minute, unless either
// changes. [Cluster.AwaitShared] tells when all have the same.
//
// What is shared comes as the answer to a question, and so from a node that has
// it now; messages that were recorded change nothing.
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
// TLS, and lets in who saw it, to disturb, but not to read or speak.
//
// Who records messages can not have them heard again. Of a node that is
// remembered they are duplicates. A node that is not known is heard when it has
// shown that it speaks now: when it tells, as the echo in its beat, the time of
// a beat of this node not more than 30 s ago, which it can only know from that
// beat. From then on the datagrams are heard that it numbers after those it
// counts in this beat as published. Nodes beat at once when they hear of one
// another, so that the proof costs the datagrams of the first exchange of beats,
// counted as [DropUnproven], and those of a node that was forgotten as much
// when it is back. A question likewise tells the time of the last beat of who is
// asked. Each question, and each part of an answer, names who it is for; an
// answer names the number of its question.
//
// Without a secret who can reach the NATS servers can read and speak. So a node
// listens beyond the loopback interface only with a secret, with TLS, or with
// [Options.InsecureListen].
//
// # Messages
//
// The subject is udprelay.ROOM.data for datagrams, udprelay.ROOM.control for
// heartbeats, and udprelay.ROOM.node.ID for questions and answers, with the
// identity of who they are for in 16 hexadecimal digits. On a NATS that is there
// already a node needs the permission to publish and subscribe to
// udprelay.ROOM.>. Numbers are big-endian. A message has at most 67584 bytes:
//
//	 0  3  "UDR"
//	 3  1  version: 1. Others are dropped as DropUnknownVersion
//	 4  1  kind: 1 datagrams, 2 heartbeat, 3 question, 4 part of an answer
//	 5  1  flags: 1 if sealed; no others
//	 6  2  count of datagrams; 0 in other messages
//	 8  8  the sender's identity, random at each start
//	16  8  number of the first datagram, or of the message among those of its
//	       sender and kind, from 1
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
// A heartbeat is JSON, at most 8192 bytes, sent each second, and when there is
// news, but not twice within 50 ms, and 50 ms more for every 16 nodes:
//
//	name, version   for people
//	peers           that the node has itself
//	in, out         datagrams a second that it gets from the cluster and gives to it
//	at              nanoseconds since the start of the node
//	leaving         true in the last
//	next            number of the next datagram
//	shared          digest of what is shared, 16 hexadecimal digits; none if nothing is
//	echo            for up to 64 identities: at of the last beat of that node, and
//	                held, nanoseconds since it came; from these a node knows its
//	                round trip, and that who tells them has heard it
//
// A question is:
//
//	 0  8  the identity of who is asked
//	 8  8  at of the last beat of who is asked
//	16  1  topic: 1 answered by Options.Answer; 2 all that is shared
//	17     the question, at most 65536 bytes
//
// A part of an answer is:
//
//	 0  8  the identity of who has asked
//	 8  8  number of the question
//	16  1  status: 0 a part; instead of an answer, 1 there is none to such
//	       questions, 2 it is too long, 3 too many questions wait
//	17  2  which part it is, from 0
//	19  2  how many there are, at most 64
//	21     65536 bytes of the answer; fewer in the last part; none if the status
//	       is not 0
package cluster
