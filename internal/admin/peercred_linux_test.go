package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"udprelay/internal/testlog"
	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

// Users and a group that no machine has.
const (
	relayUser, memberUser, otherUser = 65401, 65402, 65403
	relayGroup, memberGroup          = 65411, 65412
)

const (
	asAnotherUser = "ADMIN_TEST_AS_ANOTHER_USER" // what a process of this program does: ask or serve
	atSocket      = "ADMIN_TEST_SOCKET"
	withGroup     = "ADMIN_TEST_GROUP"
)

// TestAsAnotherUser is what this program does as another user.
func TestAsAnotherUser(t *testing.T) {
	switch socket := os.Getenv(atSocket); os.Getenv(asAnotherUser) {
	case "":
		if out := as(t, nil, "nothing", ""); out != "nothing\n" {
			t.Errorf("want a process that does nothing, got %q", out)
		}
	case "ask":
		for _, request := range requestsThere() {
			fmt.Println(askFor(socket, request))
		}
		finish()
	case "crowd":
		crowdHere(socket)
		finish()
	case "serve":
		serveHere(socket, os.Getenv(withGroup))
		finish()
	default:
		fmt.Println(os.Getenv(asAnotherUser))
		finish()
	}
}

// finish ends this process before the testing package says something.
func finish() { os.Exit(0) }

// askFor makes a request, and returns it with what becomes of it: a status, with
// the failure if it is forbidden, or an error.
func askFor(socket, request string) string {
	method, path, _ := strings.Cut(request, " ")
	response, err := Client{Socket: socket}.send(context.Background(), method, path, nil)
	if err != nil {
		hint := err.(*Unreachable).Hint()
		return fmt.Sprintf("%s: %v; %s", request, errors.Unwrap(err), hint)
	}
	defer response.Body.Close()
	var failure Failure
	if response.StatusCode == http.StatusForbidden {
		if err := json.NewDecoder(response.Body).Decode(&failure); err != nil {
			return fmt.Sprintf("%s: %v", request, err)
		}
		return fmt.Sprintf("%s: 403, %d, %s; %s", request, failure.Code, failure.Message, failure.Way)
	}
	return fmt.Sprintf("%s: %d", request, response.StatusCode)
}

// serveHere says whether it serves, and does until its standard input ends.
func serveHere(socket, group string) {
	listener, err := ListenFor(socket, group)
	if err != nil {
		failure := failureOf(err)
		fmt.Printf("%d, %s; %s\n", failure.Code, failure.Message, failure.Way)
		return
	}
	fmt.Println("serving")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		io.Copy(io.Discard, os.Stdin)
	}()
	if err := Serve(ctx, listener, &daemonOf{}, &control{}, slog.New(slog.NewTextHandler(os.Stdout, nil))); err != nil {
		fmt.Println(err)
	}
}

// crowdHere opens 700 connections that ask for nothing, and says so. Then it takes
// all places of its user with requests that last, and says what the next one is told.
func crowdHere(socket string) {
	var conns []net.Conn
	dial := func() net.Conn {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			fmt.Println(err)
			finish()
		}
		conns = append(conns, conn)
		return conn
	}
	for range 700 {
		dial()
	}
	fmt.Println("crowded")
	bufio.NewReader(os.Stdin).ReadString('\n')
	for range mostPerUser {
		conn := dial()
		io.WriteString(conn, "POST /last HTTP/1.1\r\nHost: localhost\r\n\r\n")
		conn.Read(make([]byte, 1))
	}
	_, err := Client{Socket: socket}.Status(context.Background())
	fmt.Println(err)
	runtime.KeepAlive(conns)
}

// prepared returns a process of this program that does something, as the user of
// attributes; nil: as this one.
func prepared(attributes *syscall.SysProcAttr, do, socket string) *exec.Cmd {
	child := exec.Command("/proc/self/exe", "-test.run=^TestAsAnotherUser$") // others may not go where it lies
	child.Env = append(os.Environ(), asAnotherUser+"="+do, atSocket+"="+socket, "USER=room", "GORACE=atexit_sleep_ms=0")
	child.SysProcAttr = attributes
	return child
}

// as has a process do something, and returns what it says.
func as(t *testing.T, attributes *syscall.SysProcAttr, do, socket string) string {
	t.Helper()
	out, err := prepared(attributes, do, socket).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", do, err, out)
	}
	return string(out)
}

// theUser is a user without privileges, and his groups.
func theUser(uid, gid uint32, more ...uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: more}}
}

// servingAs has another process serve a socket with a group until the test
// ends, and returns the socket and what the process says until it serves or ends.
func servingAs(t *testing.T, attributes *syscall.SysProcAttr, group string) (socket, said string) {
	t.Helper()
	socket = openSocketName(t)
	if c := attributes.Credential; c != nil {
		if err := os.Chown(filepath.Dir(socket), int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	child := prepared(attributes, "serve", socket)
	child.Env = append(child.Env, withGroup+"="+group)
	input, lines := talking(t, child)
	lines.Scan()
	said = lines.Text()
	t.Cleanup(func() {
		input.Close()
		for lines.Scan() {
			t.Log(lines.Text())
		}
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	})
	return socket, said
}

// talking starts a process, and returns its standard input and the lines that it
// says.
func talking(t *testing.T, child *exec.Cmd) (input io.WriteCloser, lines *bufio.Scanner) {
	t.Helper()
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return input, bufio.NewScanner(output)
}

// openSocketName is socketName in a directory that everybody may enter.
func openSocketName(t *testing.T) string {
	t.Helper()
	name := socketName(t)
	if err := os.Chmod(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// wantAnswers checks what has become of each request: what reads ends with one
// text, what controls with another.
func wantAnswers(t *testing.T, got, reads, controls string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) < 9 {
		t.Fatalf("want a line for each request, got %q", got)
	}
	for _, line := range lines {
		want := controls
		for _, path := range []string{"/status", "/peers", "/events", "/why", "/bans", "/healthz", "/readyz", "/metrics"} {
			if strings.Contains(line, "GET ") && strings.Contains(line, path+": ") {
				want = reads
			}
		}
		// An answer of the handler is any but those of the guard.
		if want == "answered" && (strings.Contains(line, ": 403") || !strings.ContainsAny(line[len(line)-3:], "0123456789")) || want != "answered" && !strings.HasSuffix(line, want) {
			t.Errorf("want %q, got %q", want, line)
		}
	}
}

const noEntry = "; only root, the user of the relay and the members of its admin.group may ask it; try sudo"

// The mode decides who may ask, and the credentials who may control.
func TestMembersOfTheGroupReadAndRootControls(t *testing.T) {
	testneed.Root(t)
	socket, said := servingAs(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: relayUser, Gid: relayGroup, Groups: []uint32{memberGroup}}}, strconv.Itoa(memberGroup))
	if said != "serving" {
		t.Fatalf("want it to serve, got %q", said)
	}
	wantMode(t, socket, 0o660, memberGroup)
	const right = "only root and the user of the relay (room, uid 65401) may do that; try sudo"
	wantAnswers(t, as(t, theUser(memberUser, memberUser, memberGroup), "ask", socket), "answered", ": 403, 77, the user that asks is uid 65402; "+right)
	wantAnswers(t, as(t, nil, "ask", socket), "answered", "answered")
	wantAnswers(t, as(t, theUser(relayUser, relayUser), "ask", socket), "answered", "answered")
	wantAnswers(t, as(t, theUser(otherUser, otherUser), "ask", socket), "permission denied"+noEntry, "permission denied"+noEntry)

	// Whatever the mode is, only these control.
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, as(t, theUser(otherUser, relayGroup, memberGroup), "ask", socket), "answered", ": 403, 77, the user that asks is uid 65403; "+right)
	// With a name, where there is one.
	wantAnswers(t, as(t, theUser(1, 1), "ask", socket), "answered", ": 403, 77, the user that asks is "+userName(1, "")+"; "+right)
}

func TestWithoutAGroupNobodyElseMayAsk(t *testing.T) {
	testneed.Root(t)
	socket, said := servingAs(t, theUser(relayUser, memberGroup), "")
	if said != "serving" {
		t.Fatalf("want it to serve, got %q", said)
	}
	wantMode(t, socket, 0o600, memberGroup)
	wantAnswers(t, as(t, theUser(memberUser, memberGroup), "ask", socket), "permission denied"+noEntry, "permission denied"+noEntry)
	wantAnswers(t, as(t, nil, "ask", socket), "answered", "answered")
}

func wantMode(t *testing.T, name string, mode fs.FileMode, gid uint32) {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Gid; info.Mode() != fs.ModeSocket|mode || got != gid {
		t.Errorf("want a socket of mode %v and group %d, got %v and %d", mode, gid, info.Mode(), got)
	}
}

// What is wrong with the group is said, and leaves no socket.
func TestAGroupThatCannotBeIsRefused(t *testing.T) {
	testneed.Root(t)
	for name, test := range map[string]struct{ group, want string }{
		"unknown":      {"no such group", `78, admin.group: "no such group": there is no such group; want one that this machine has; getent group lists them, groupadd --system makes one`},
		"no number":    {"4294967295", `78, admin.group: "4294967295": there is no such group; `},
		"of others":    {strconv.Itoa(memberGroup), fmt.Sprintf(`78, admin.group: "%d": the control socket cannot get this group: operation not permitted; want a group that the user of the relay is a member of; usermod --append --groups makes it a member; `, memberGroup)},
		"of root":      {"root", `78, admin.group: "root": the control socket cannot get this group: operation not permitted; `},
		"its own":      {strconv.Itoa(relayGroup), "serving"},
		"another one":  {strconv.Itoa(relayGroup + 5), "serving"},
		"by no number": {"-1", `78, admin.group: "-1": there is no such group; `},
	} {
		socket, said := servingAs(t, theUser(relayUser, relayGroup, relayGroup+5), test.group)
		if !strings.HasPrefix(said, test.want) {
			t.Errorf("%s: want %q, got %q", name, test.want, said)
		}
		if left := files(t, socket); said != "serving" && len(left) > 0 {
			t.Errorf("%s: want nothing left behind, got %q", name, left)
		}
	}
}

// In a user namespace everybody whom it does not have looks alike.
func TestWhoCannotBeToldFromOthersControlsNothing(t *testing.T) {
	testneed.Root(t)
	inside := func(mappings ...syscall.SysProcIDMap) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: mappings}
	}
	const strange = ": 403, 77, the relay cannot tell which user asks: uid 65534 stands for all whom its user namespace (PrivateUsers=) hides; "
	// As systemd does with PrivateUsers=: root and the relay's user are as outside.
	private := inside(syscall.SysProcIDMap{ContainerID: 0, HostID: 0, Size: 1}, syscall.SysProcIDMap{ContainerID: relayUser, HostID: relayUser, Size: 1})
	private.GidMappings = []syscall.SysProcIDMap{{ContainerID: relayGroup, HostID: relayGroup, Size: 1}}
	private.Credential = &syscall.Credential{Uid: relayUser, Gid: relayGroup, NoSetGroups: true}
	socket, said := servingAs(t, private, strconv.Itoa(relayGroup))
	if said != "serving" {
		t.Fatalf("want it to serve, got %q", said)
	}
	wantMode(t, socket, 0o660, relayGroup)
	wantAnswers(t, as(t, nil, "ask", socket), "answered", "answered")
	wantAnswers(t, as(t, theUser(relayUser, relayUser), "ask", socket), "answered", "answered")
	wantAnswers(t, as(t, theUser(memberUser, relayGroup), "ask", socket), "answered",
		strange+"only root and the user of the relay (room, uid 65401) may do that; try sudo")

	// Here the relay's own user is one of those: only the root of the namespace,
	// who is another user outside, is told from others.
	socket, said = servingAs(t, inside(syscall.SysProcIDMap{ContainerID: 0, HostID: memberUser, Size: 1}), "")
	if !strings.Contains(said, "serving") {
		t.Fatalf("want it to serve, got %q", said)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, as(t, nil, "ask", socket), "answered", strange+"only root may do that; try sudo")
	wantAnswers(t, as(t, theUser(memberUser, memberUser), "ask", socket), "answered", "answered")
}

func TestANamespaceHasAllUsersOrNot(t *testing.T) {
	for uidMap, want := range map[string]bool{
		"         0          0 4294967295\n":                 true,
		"0 0 1000\n1000 1000 4294966295\n":                   true,
		"         0          0          1\n 65401 65401 1\n": false,
		"         0       1000          1\n1 100000 65536\n": false,
		"":                                 false,
		"0 0\n":                            false,
		"0 0 4294967296\n":                 false, // there are no more numbers
		"0 0 x\n0 0 4294967295\n":          false,
		"0 0 -4294967295\n":                false,
		"0 0 4294967295 4294967295\n":      false,
		"0 0 4294967294\n":                 false,
		"0 0 4294967294\n7 7 1\n":          true,
		"0 0 2147483648\n1 1 2147483647\n": true,
	} {
		if got := mapsAll(uidMap); got != want {
			t.Errorf("%q: want %v, got %v", uidMap, want, got)
		}
	}
}

// A file that somebody has put in the place of the socket keeps its group and
// mode.
func TestOnlyTheSocketGetsTheGroup(t *testing.T) {
	testneed.Root(t)
	name := socketName(t)
	leave(t, name)
	was, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, put := range map[string]func() error{
		"another socket":  func() error { leave(t, name); return nil },
		"a file":          func() error { return os.WriteFile(name, nil, 0o600) },
		"a symbolic link": func() error { return os.Symlink(name+".aside", name) },
	} {
		if err := os.Rename(name, name+".aside"); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := share(name, was, "x", memberGroup); !errors.Is(err, errTaken) {
			t.Errorf("%s: want %v, got %v", what, errTaken, err)
		}
		for _, other := range []string{name, name + ".aside"} {
			info, err := os.Lstat(other)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Sys().(*syscall.Stat_t).Gid; got == memberGroup || info.Mode().Perm() == shared {
				t.Errorf("%s: want %s left alone, got %v and %d", what, other, info.Mode(), got)
			}
		}
		if err := os.Rename(name+".aside", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := share(name, was, "x", memberGroup); err != nil {
		t.Fatal(err)
	}
	wantMode(t, name, shared, memberGroup)
}

// A refusal is in the log with who has asked for what.
func TestARefusalIsLogged(t *testing.T) {
	t.Setenv("USER", "room")
	log := new(strings.Builder)
	g := &guard{own: relayUser, log: slog.New(slog.NewTextHandler(log, nil)), stranger: overflow, some: true}
	mux := http.NewServeMux()
	addControl(mux, &control{})
	handler := g.keep(mux, http.NotFoundHandler())
	c1, c2 := connected(t)
	defer c1.Close()
	defer c2.Close()
	if got := callerOf(c1); got.err != nil || got.uid != uint32(os.Geteuid()) {
		t.Errorf("want this user, got %+v", got)
	}
	post := func(ctx context.Context) int {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v1/reload", nil))
		return recorder.Code
	}
	for _, test := range []struct {
		caller caller
		want   string // "": it may
	}{
		{caller{uid: 0}, ""},
		{caller{uid: relayUser}, ""},
		{caller{uid: overflow}, "the relay cannot tell which user asks: uid 65534 stands"},
		{caller{uid: memberUser}, "the user that asks is uid 65402; only root and the user of the relay (room, uid 65401) may do that"},
		{caller{err: errors.New("broken")}, "the system does not say which user asks (broken); only root"},
	} {
		log.Reset()
		code := post(context.WithValue(t.Context(), callerKey{}, test.caller))
		if forbidden := code == http.StatusForbidden; forbidden != (test.want != "") {
			t.Errorf("%+v: got %d", test.caller, code)
		}
		if test.want != "" && (!strings.Contains(log.String(), `level=WARN msg="control refused" request="POST /api/v1/reload" why="`) || !strings.Contains(log.String(), test.want)) {
			t.Errorf("%+v: want %q in the log, got %q", test.caller, test.want, log)
		}
		if test.want == "" && log.Len() > 0 {
			t.Errorf("%+v: want nothing in the log, got %q", test.caller, log)
		}
	}
	// One that is no unix socket has nobody behind it who is known.
	if code := post(t.Context()); code != http.StatusForbidden {
		t.Errorf("want 403 where nobody is known, got %d", code)
	}
}

func connected(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	listener, err := Listen(socketName(t))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialled.(*net.UnixConn), accepted.(*net.UnixConn)
}

// A member of the group that opens more connections than there are places keeps
// nobody out but itself, and is told so.
func TestAMemberOfTheGroupDoesNotLockTheOwnerOut(t *testing.T) {
	testneed.Root(t)
	socket := openSocketName(t)
	listener, err := ListenFor(socket, strconv.Itoa(memberGroup))
	if err != nil {
		t.Fatal(err)
	}
	var book testlog.Log
	log := book.Logger()
	mux := http.NewServeMux()
	newReader(&daemonOf{}).add(mux)
	addControl(mux, &control{})
	mux.HandleFunc("POST /last", func(w http.ResponseWriter, request *http.Request) {
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		<-request.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serveHandler(ctx, listener, mux, newGuard(log).may, log, 0) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})

	child := prepared(theUser(memberUser, memberGroup), "crowd", socket)
	input, said := talking(t, child)
	defer child.Wait()
	if said.Scan(); said.Text() != "crowded" {
		t.Fatalf("want 700 connections; got %q", said.Text())
	}
	owner := Client{Socket: socket}
	for range 20 {
		if _, err := owner.Ban(t.Context(), "192.0.2.1", 0, "", false); err != nil {
			t.Fatalf("want root to be let in; got %v", err)
		}
	}
	testwait.Until(t, func() bool {
		return book.Has(`msg="connections were closed: there were too many without a request"`) && book.Has(`from="user uid 65402"`)
	},
		"want the log to name the user whose connections were closed")
	io.WriteString(input, "\n")
	if said.Scan(); said.Text() != "too many connections to "+socket+" from user uid 65402" {
		t.Errorf("want to be told why there is no answer; got %q", said.Text())
	}
	if _, err := owner.Ban(t.Context(), "192.0.2.1", 0, "", false); err != nil {
		t.Errorf("want root to be let in beside requests that last; got %v", err)
	}
}
