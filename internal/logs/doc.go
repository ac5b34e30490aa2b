// Package logs writes the daemon's lines: in the form that suits where they go
// to, and without ever holding up who logs.
//
// # Forms
//
// A file gets what [slog.TextHandler] or [slog.JSONHandler] make of a line. On
// a terminal a line is for a person, with the local time and the message as it
// is:
//
//	15:04:05 INFO  listening  address=[::]:9000
//
// The journal of systemd has a time of its own, and takes the level from the
// priority that stands before a line, see sd-daemon(3):
//
//	<6>listening address=[::]:9000
//
// JSON at the journal is the same object as elsewhere, without its time and
// with the priority before it. Whatever a message or an attribute holds, it
// makes one line: what does not print is quoted.
//
// # What is bounded
//
// Lines wait in a queue of at most 1 MiB and 4096 lines for the goroutine that
// writes them, so a pipe that nobody reads and a disk that hangs cost lines and
// no time. What does not fit, what is longer than 32 KiB, and what the system
// does not take (the disk is full, the reader is gone) is lost; as soon as a
// line can be written again, the first says how many were:
//
//	level=WARN msg="log lines lost" count=95904
//
// Repeated events are counted, not repeated. Of lines with the same level,
// message and reason (an attribute), whatever their other attributes, 10 leave
// within a minute that begins with the first. The others are counted, and a line
// says so when the minute is over:
//
//	level=WARN msg="lines left out" about="client refused" reason=not_let_in count=812
//
// So a message must be a constant, and what differs goes into the attributes;
// callers need no limit of their own. Lines below info are never left out. No more than 256 events are told apart in a minute; all others count
// as one, about "other messages".
package logs
