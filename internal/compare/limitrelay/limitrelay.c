// limitrelay: the least that a relay on one socket can do in C; the bar that
// udprelay is held against.
//
//   limitrelay PORT gso BATCH     what one recvmmsg brings, as a train to each peer
//   limitrelay PORT mmsg BATCH    what one recvmmsg brings, one sendmmsg for each datagram
//   limitrelay PORT plain 1       a recvfrom that blocks, then a sendto to each peer,
//                                 which is how samplicator does it
//
// It learns peers from what they send, checks nothing and forgets nobody. It
// tells peers apart by their ports alone, so no two may have the same.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define MOST_PEERS 16384
#define MOST_BATCH 64
#define LONGEST 2048

static struct sockaddr_in peer[MOST_PEERS];
static int peers;
static char known[65536]; // ports
static char buffer[MOST_BATCH][LONGEST];

static void learn(const struct sockaddr_in *from)
{
	int port = ntohs(from->sin_port);
	if (!known[port] && peers < MOST_PEERS) {
		peer[peers++] = *from;
		known[port] = 1;
	}
}

static void relay_plain(int s)
{
	for (;;) {
		struct sockaddr_in from;
		socklen_t size = sizeof from;
		ssize_t n = recvfrom(s, buffer[0], LONGEST, 0, (void *)&from, &size);
		if (n < 0)
			continue;
		learn(&from);
		for (int p = 0; p < peers; p++)
			if (peer[p].sin_port != from.sin_port)
				sendto(s, buffer[0], n, 0, (void *)&peer[p], sizeof peer[p]);
	}
}

// send_all sends count datagrams as a message to each peer but the origin. What
// fails is left out.
static void send_all(int s, in_port_t origin, struct iovec *datagrams, int count, void *control, size_t size)
{
	static struct mmsghdr out[MOST_PEERS];
	int messages = 0;
	for (int p = 0; p < peers; p++)
		if (peer[p].sin_port != origin)
			out[messages++].msg_hdr = (struct msghdr){&peer[p], sizeof peer[p], datagrams, count, control, size, 0};
	for (int done = 0; done < messages;) {
		int n = sendmmsg(s, out + done, messages - done > 1024 ? 1024 : messages - done, 0);
		done += n > 0 ? n : 1;
	}
}

static void relay_batches(int s, int gso, int batch)
{
	static struct mmsghdr in[MOST_BATCH];
	static struct iovec datagram[MOST_BATCH];
	static struct sockaddr_in from[MOST_BATCH];
	static char control[CMSG_SPACE(2)];
	struct cmsghdr *segment = (void *)control;
	segment->cmsg_level = SOL_UDP;
	segment->cmsg_type = UDP_SEGMENT;
	segment->cmsg_len = CMSG_LEN(2);
	for (;;) {
		for (int i = 0; i < batch; i++) {
			datagram[i] = (struct iovec){buffer[i], LONGEST};
			in[i].msg_hdr = (struct msghdr){&from[i], sizeof from[i], &datagram[i], 1, 0, 0, 0};
		}
		int n = recvmmsg(s, in, batch, MSG_WAITFORONE, 0), same = 1;
		for (int i = 0; i < n; i++) {
			datagram[i].iov_len = in[i].msg_len;
			learn(&from[i]);
			if (in[i].msg_len != in[0].msg_len || from[i].sin_port != from[0].sin_port)
				same = 0;
		}
		if (n > 1 && gso && same) {
			*(unsigned short *)CMSG_DATA(segment) = in[0].msg_len;
			send_all(s, from[0].sin_port, datagram, n, control, sizeof control);
		} else {
			for (int i = 0; i < n; i++)
				send_all(s, from[i].sin_port, &datagram[i], 1, 0, 0);
		}
	}
}

int main(int count, char **args)
{
	int batch = count == 4 ? atoi(args[3]) : 0;
	if (batch < 1 || batch > MOST_BATCH) {
		fprintf(stderr, "usage: limitrelay PORT gso|mmsg|plain 1-%d\n", MOST_BATCH);
		return 64;
	}
	int s = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(args[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(s, (void *)&own, sizeof own)) {
		perror("bind");
		return 69;
	}
	if (!strcmp(args[2], "plain"))
		relay_plain(s);
	relay_batches(s, !strcmp(args[2], "gso"), batch);
}
