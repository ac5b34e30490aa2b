// Compare measures udprelay beside what else relays datagrams, in turn, round
// after round, and writes what came out into the documentation: tables with
// ratios, and plots. With -size it measures how udprelay alone does with up to
// 100,000 peers. It needs Linux, two processors, go and cc.
//
// Beside udprelay run limitrelay, the least that a C program can do, in its three
// ways; the plain loop; and whatever is there of samplicator (in PATH, or what
// SAMPLICATOR names), GStreamer's multiudpsink and socat.
//
// The relay has one processor and the load generator, which is this program,
// another. Ratios are of what was measured in the same round.
package main
