// Package filetransfer sends files over TCP, one connection a file, so that the
// simplest programs that tutorials show understand it, in both roles.
//
// # The plain way
//
//	sender    NAME                          the base name, UTF-8, at most 255 bytes
//	receiver  ok                            or: error: WHY LF
//	sender    the bytes, and it closes its half (FIN)
//	receiver  received COUNT SHA256 LF      and it closes
//
// There are two kinds of plain programs. Those that take what one read yields
// want the name bare and compare the answer with ok; those that read lines
// (read in a shell) want a newline behind both. The [Sender] sends a bare name,
// as a newline would become part of it for the first kind, and one that followed
// later could become the first byte of the file; for the second kind it is told
// to send the newline ([Sender.Newline]). The [Receiver] takes both: a name ends
// with a newline (CR LF too), or when nothing has followed for a [Pause]. It
// answers in the same manner: "ok" to a bare name, "ok" LF to a line. What
// comes behind the newline belongs to the file, so that a sender need not wait
// for the answer.
//
// # How the end of a file is known
//
// A connection that ends tells two things: FIN, all has been sent, or RST, the
// sender broke off. The receiver keeps a file after FIN only. But the kernel
// says FIN, too, for a process that is killed. So the Sender has SO_LINGER set
// to 0 from the beginning: whatever ends it before it has closed its half by
// itself makes its kernel say RST, with plain receivers as well. The Receiver
// does the same until it has answered, so that a Sender does not take its death
// for the end of a plain receiver, which just closes.
//
// What stands between and ends TCP itself (ssh -L, a proxy) may make a FIN of an
// RST. There only the stream can tell, and nothing in the stream of the plain
// way can: a plain receiver keeps all that follows the name, and a plain sender
// takes all that it reads first for the answer; what the answer has more would
// be unread when it closes, and make an RST of its FIN.
//
// # The checked way
//
//	sender    udprelay-file/1 SIZE NAME LF
//	receiver  ok LF                         or: error: WHY LF
//	sender    SIZE bytes, SHA256 LF
//	receiver  received COUNT SHA256 LF      and it closes
//
// The first line cannot be a name, for names have no slash; a plain receiver
// fails to open such a file. The file gets its name only when all its bytes and
// their hash have come. A Sender does this when it is told to ([Sender.Checked])
// and, by itself, from the second file on, when the receiver of the first has
// given the count and hash.
//
// # What is certain
//
//	sender    receiver  the name appears
//	checked   ours      only for a whole file, whatever is killed, and through proxies
//	ours      ours      only for a whole file, whatever is killed, unless a proxy makes FIN of RST
//	plain     ours      only after FIN; whether that means complete, the sender alone knows
//	ours      plain     as the receiver does it; it gets RST unless all was sent
//
// The Sender compares the count and hash that it is told with what it has read;
// [Sent.Verified] says whether it was told. [Received.Checked] says whether the
// receiver could know.
//
// # Files
//
// A file is written without a name (O_TMPFILE) where the system can do that, or
// else under a hidden one in the same directory, locked, which the next receiver
// removes if the first was killed. When it is complete it is synced, it gets its
// name in one step, by a call that fails if the name is taken (unless
// [Receiver.Overwrite]), and the directory is synced. Files get the mode that
// the umask leaves of 0666. Nothing outside of the directory is touched and no
// symbolic link in it is followed; which names are refused says [CheckName].
// Blocks of zeros become holes.
package filetransfer
