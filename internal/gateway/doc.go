// Package gateway lets clients without UDP take part in a relay: over TCP, over
// TLS and over WebSocket.
//
//	listener ── accepts ──> client ── Bring ──> relay
//	                        client <─ Deliver ─ relay
//	                          │
//	                          ├ reads what the client says, in one goroutine
//	                          └ writes what waits in its queue, in another
//
// Each client is a peer of the relay, a [relay.Member]: it is listed, judged,
// limited, kicked and banned as the others are. What it gets waits in a queue of
// bounded size that only it can fill; who does not take what is sent to it loses
// datagrams, which are counted, and after a while its connection. Nobody else
// notices.
//
// On a byte stream a datagram is a frame of RFC 4571: its length in two bytes,
// the higher first, and its payload. In a WebSocket (RFC 6455) it is a message.
package gateway
