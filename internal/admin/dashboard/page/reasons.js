// Why datagrams are dropped, and what helps: docs/performance.md and the log
// say the same.

/** reasons has for each the way on which it strikes ("in" is counted once a
 * datagram, "out" once a receiver), what it means and what helps. */
export const reasons = {
  rule: ["in", "No rule of access lets the sender in.", "If a rule says may: nothing for it, Why? names that rule; if no rule matches, add one to access to let it in."],
  banned: ["in", "The sender is banned.", "A ban holds whatever the rules of access say: udprelay ban --list has them all, udprelay unban ends one."],
  table_full: ["in", "The sender is unknown, and the table of peers is full.", "If these senders use a new port for each datagram, do as for address_full. To take more peers, raise peers.max; if there should not be so many, see who takes the places."],
  address_full: ["in", "The sender is unknown, and its address has as many peers as one may have.", "If these senders use a new port for each datagram, as logger and statsd clients do, write {from: THEIR ADDRESS, may: send} as the first rule of access: they then need no place. To take more peers of one address, raise peers.max_per_address."],
  never_a_peer: ["in", "The sender can be no peer: port 0, multicast, broadcast or the relay itself.", "See what sends from such an address; no setting lets it in."],
  may_not_send: ["in", "The rule of the sender lets it only receive.", "If it should send, say may: both or may: send in its rule."],
  unproven: ["in", "The sender has not proved itself, as its rule of access asks. Who joins begins with one.", "Clients that can prove themselves, such as udprelay join; plain UDP tools need a rule with join: open."],
  bad_proof: ["in", "A proof was forged, replayed, too old or not whole.", "Somebody guesses, has the wrong secret, or was too slow: a cookie is good for a minute."],
  join_rate: ["in", "The sender is unknown, and too many join at the moment.", "If these senders use a new port for each datagram, do as for address_full. See who they are; to let more join in a second, raise peers.joins_per_second or peers.joins_per_second_per_address."],
  peer_rate: ["in", "The sender is over the limit for one peer.", "To let a peer send more, raise limits.peer_datagrams_per_second or limits.peer_bytes_per_second."],
  storm: ["in", "The datagram goes round in a loop: its sender returns what it was sent.", "Relays are linked in a ring, or peers send back what they receive; remove one of the links."],
  withheld: ["in", "It is one of a few datagrams that are withheld to find out whether a peer returns what it is sent.", "Nothing needs to be done; if there is a loop, it is counted as storm."],
  overload: ["in", "More comes in than this machine can relay, and the sender is over its fair share.", "A flooder is limited to what the others leave; limits.peer_datagrams_per_second stops it earlier, a ban completely. If all senders are honest: more cores (socket.senders: 0) or fewer peers."],
  receive_queue_full: ["in", "Datagrams came faster than they could leave, or, seldom, with wrong checksums; the kernel dropped them.", "For bursts, a larger socket.receive_buffer; for a steady load, more cores (socket.senders: 0) or fewer peers: a full buffer is also delay."],
  egress_limit: ["out", "The relay is over its limit of bytes a second.", "To send more, raise limits.egress_bytes_per_second."],
  quarantined: ["out", "The network says that the receiver cannot be reached, or it does not answer ARP or neighbour discovery.", "See to the receiver. It is tried again within 16 seconds, and at once when it is heard."],
  too_big: ["out", "The datagram is longer than the way to the receiver can carry.", "Smaller datagrams."],
  filtered: ["out", "A firewall on the machine of the relay forbids sending to the receiver.", "See the firewall's rules for what leaves."],
  unreachable: ["out", "The machine of the relay has no route to the receiver.", "See its routes (ip route get ADDRESS)."],
  no_buffer: ["out", "The send buffer, or the queue of a network interface, was full: the interface is slower than the relay.", "For bursts, a larger socket.send_buffer or a longer queue of the interface (tc -s qdisc counts what it drops); a faster interface."],
  queue_full: ["out", "The receiver is a client of a gateway, and takes datagrams too slowly: its queue was full.", "See to its network; for bursts, a larger gateway.queue."],
  disconnected: ["out", "The connection of the receiver, a client of a gateway, ended before everything had left.", "Nothing, if clients come and go; else see why connections end: udprelay status."],
  stopped: ["out", "The relay was stopped, and there was no time left for it.", "What was received before a stop has a second to leave; this did not."],
  send_failed: ["out", "Another error of the system while sending.", "The log of the daemon has the error."],
};

/** clusterReasons has the same for what does not get through between the nodes of
 * a cluster, with what is counted instead of the way. */
export const clusterReasons = {
  queue_full: ["datagrams", "NATS takes less than the relay has for the other nodes: the queue was full.", "See what waits on the routes; a faster path, or for bursts a larger cluster.queue."],
  too_big: ["datagrams", "The datagram is longer than 65535 bytes.", "Smaller datagrams."],
  publish_failed: ["datagrams", "There was no connection to NATS, or it failed.", "See the log of the daemon, and the network to the NATS servers."],
  lost: ["datagrams", "Another node has sent it, and it did not come.", "The path from that node is too slow or was cut, or this machine is too slow; the table says which node."],
  duplicate: ["messages", "It has come before, or came after what was said later.", "Few are harmless; many are a network that repeats, or somebody who does."],
  unknown_version: ["messages", "It is of a program that speaks another version.", "Have the same version of udprelay on all nodes."],
  malformed: ["messages", "It is no message of this program, or not whole.", "See what else uses the subjects of the room."],
  wrong_secret: ["messages", "It is not sealed with the secret of this node, or is sealed and this node has none.", "Have the same cluster.secret_file on all nodes of the room."],
  too_many_nodes: ["messages", "It is of a node more than are remembered.", "Fewer nodes in a room, or several rooms."],
  slow: ["messages", "The relay took messages too slowly.", "More processor time for the relay; the datagrams in them are lost as well."],
  unproven: ["messages", "Its node has not shown yet that it says this now.", "Nothing, when a node comes; if it goes on, somebody repeats what was recorded."],
  unasked: ["messages", "It is part of an answer that nobody waits for any longer.", "Few are harmless: an answer that came late."],
};

/** ways puts into words on which way a reason strikes. */
export const ways = {
  in: "on the way in, counted once a datagram",
  out: "on the way out, counted once a receiver",
};

/** explain returns the entry of a reason, also of one that a newer daemon has. */
export function explain(reason, among = reasons) {
  return Object.hasOwn(among, reason) ? among[reason] : ["", "This page does not know the reason.", "See the daemon's documentation."];
}
