// Package bench loads a relay and measures it from outside: what comes in and
// goes out, what is lost, how late it is, and what it costs.
//
// What it measures with costs little, so that the relay is what is measured.
// Most receivers drop each datagram of the run in a socket filter, and the
// kernel counts them. A few, the latency peers, receive for real; the kernel
// notes when. One thread sends, many datagrams with a system call.
//
// Any relay can be measured: one that learns its peers, as udprelay does, with
// proofs of their addresses if it asks for them; or one whose receivers stand in
// its configuration (Config.Static).
//
// It needs Linux. Elsewhere [Run] and [Start] return an error that says so.
package bench
