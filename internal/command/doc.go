// Package command is the command line of udprelay, one file for each command.
//
// Output policy. What a program may read (an effective configuration, the
// datagrams that join prints) goes to standard output; everything said to a
// person goes to standard error. An error is one line, "udprelay: " and then
// the message, without a capital or a full stop; where there is a way out, a
// line "hint: " follows. Exit codes are those of sysexits.h: 0 fine, 64 usage,
// 69 cannot bind or reach, 70 our own bug, 78 configuration; 1 is any other
// failure.
//
// Commands get their world (streams, environment) as an argument and never
// touch that of the process, so that tests can run them.
package command
