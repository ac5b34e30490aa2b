package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
)

// A caller is the user behind a connection, as the system tells it: the
// effective one of the process that has connected, at that moment.
type caller struct {
	uid uint32
	err error // the system does not tell
}

type callerKey struct{}

// withCaller adds to the context of a connection who is behind it.
func withCaller(ctx context.Context, conn net.Conn) context.Context {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, callerOf(local))
}

// callerOf asks the system who is behind conn.
func callerOf(conn *net.UnixConn) (c caller) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return caller{err: err}
	}
	if err := raw.Control(func(fd uintptr) { c.uid, c.err = peerUser(int(fd)) }); err != nil {
		return caller{err: err}
	}
	return c
}

// A guard keeps what changes something, or shows payloads, for root and the user
// of the daemon. Where the system tells nobody who connects, the mode of the
// socket has decided already.
type guard struct {
	own uint32 // the user of the daemon
	log *slog.Logger

	// Users that the user namespace of the daemon does not have look like this
	// one, whoever they are; there are such users if some is true.
	stranger uint32
	some     bool
}

func newGuard(log *slog.Logger) *guard {
	g := &guard{own: uint32(os.Geteuid()), log: log}
	g.stranger, g.some = strangers()
	if callersTold && g.ownIsStrange() {
		log.Info("only root may control: in this user namespace the user of the relay cannot be told from others", "uid", g.own, "hint", "run it as another user")
	}
	return g
}

// ownIsStrange reports whether users that nobody knows look like the one of the
// daemon.
func (g *guard) ownIsStrange() bool { return g.some && g.own == g.stranger }

// may reports whether c may control.
func (g *guard) may(c caller) bool {
	switch {
	case !callersTold:
		return true
	case c.err != nil || g.some && c.uid == g.stranger:
		return false
	}
	return c.uid == 0 || c.uid == g.own
}

// refusal says who has asked and who may.
func (g *guard) refusal(c caller) *Failure {
	var who string
	switch {
	case c.err != nil:
		who = fmt.Sprintf("the system does not say which user asks (%v)", c.err)
	case g.some && c.uid == g.stranger:
		who = fmt.Sprintf("the relay cannot tell which user asks: uid %d stands for all whom its user namespace (PrivateUsers=) hides", c.uid)
	default:
		who = "the user that asks is " + userName(c.uid, "")
	}
	right := "root and the user of the relay (" + userName(g.own, os.Getenv("USER")) + ")"
	if g.ownIsStrange() || g.own == 0 {
		right = "root"
	}
	return &Failure{Message: fmt.Sprintf("%s; only %s may do that", who, right), Way: "try sudo", Code: 77} // EX_NOPERM of sysexits.h
}

// userName returns the name of a user with its number, or only that. Otherwise
// is the name if the system does not know one: a user that systemd makes up for a
// service (DynamicUser=) is in no file.
func userName(uid uint32, otherwise string) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if known, err := user.LookupId(number); err == nil {
		otherwise = known.Username
	}
	if otherwise == "" {
		return "uid " + number
	}
	return fmt.Sprintf("%s, uid %s", otherwise, number)
}

// keep returns next with the requests refused that control knows and their
// callers may not make. Next may know more of them.
func (g *guard) keep(control *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, pattern := control.Handler(request); pattern != "" {
			c, told := request.Context().Value(callerKey{}).(caller)
			if !told {
				c.err = errors.New("it is no unix socket")
			}
			if !g.may(c) {
				failure := g.refusal(c)
				g.log.Warn("control refused", "request", pattern, "why", failure.Message)
				answer(w, http.StatusForbidden, failure)
				return
			}
		}
		next.ServeHTTP(w, request)
	})
}
