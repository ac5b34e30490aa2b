// Package admin is how a running daemon is asked and told: HTTP with JSON over
// a unix socket that only its owner, root, and the members of a group may open;
// only the first two control it. [Listen], [ListenFor] and [Serve] are the
// daemon's side, [Client] is what commands such as "udprelay reload" use.
//
// Requests and answers, which are stable:
//
//	POST /api/v1/reload   read the configuration again: 200 and a [Reloaded]
//
// What fails is answered with a status of 400 or more and a [Failure], which
// has what the daemon says to a person and the exit code for a program.
package admin
