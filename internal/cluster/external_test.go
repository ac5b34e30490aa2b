//go:build !nocluster

package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testlog"
	"udprelay/internal/testneed"
)

// A natsProgram is the program nats-server, with a configuration file.
type natsProgram struct {
	config  string
	command *exec.Cmd
	exited  chan struct{}
	out     testlog.Log
}

// runNATSProgram runs the program with that configuration, until the test ends
// or stop is called, and waits until it listens.
func runNATSProgram(t testing.TB, config string) *natsProgram {
	t.Helper()
	testneed.Tool(t, "nats-server")
	p := &natsProgram{config: filepath.Join(t.TempDir(), "nats.conf")}
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("%s:\n%s", p.config, p.out.String())
		}
	})
	return p
}

func (p *natsProgram) start(t testing.TB) {
	t.Helper()
	p.out.Reset()
	p.command = exec.Command("nats-server", "-c", p.config)
	p.command.Stdout, p.command.Stderr = &p.out, &p.out
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	command, exited := p.command, make(chan struct{})
	p.exited = exited
	go func() {
		command.Wait() // how it ends does not matter
		close(exited)
	}()
	await(t, "the NATS server is ready", func() bool {
		select {
		case <-exited:
			t.Fatalf("want a NATS server that runs; it said %s", p.out.String())
		default:
		}
		return p.out.Has("Server is ready")
	})
}

// stop ends the program at once, as a machine that fails does.
func (p *natsProgram) stop(t testing.TB) {
	t.Helper()
	p.command.Process.Kill() // an error: it has ended
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Error("want the NATS server to end when it is killed")
	}
}

// A daemon that is no part of this program, and of another version of NATS.
func TestEveryoneHearsEveryoneElseOverTheProgramNATS(t *testing.T) {
	address := unused(t)
	p := runNATSProgram(t, fmt.Sprintf(`
		listen: %q
		authorization { user: "relay", password: "right" }
	`, address))
	if version, err := exec.Command("nats-server", "--version").Output(); err == nil {
		t.Logf("%s", bytes.TrimSpace(version))
	}
	options := Options{URL: "nats://relay:right@" + address, Secret: []byte("secret")}
	list := startNodes(t, 2, options)
	wrong := startNode(t, Options{Name: "wrong", URL: "nats://relay:wrong@" + address, Secret: options.Secret})
	all := udpPeersOf(t, list, 2)
	talk(t, all)
	for _, n := range list {
		wantNoDrops(t, n)
	}
	await(t, "a wrong password is told", func() bool { return wrong.log.Has("authorization violation") })
	if s := wrong.Stats(); s.Connected || len(s.Nodes) != 0 || s.ReceivedMessages != 0 || wrong.log.Has("relay:wrong") {
		t.Errorf("want a node with a wrong password to hear of nobody, and no password in the log; got %+v", s)
	}

	// While the server is away what is said is lost, and counted.
	p.stop(t)
	await(t, "both notice", func() bool { return !list[0].Stats().Connected && !list[1].Stats().Connected })
	const lost = 50
	for range lost {
		all[0].say(t, 100)
	}
	await(t, "what can not be said is counted", func() bool { return list[0].dropped(DropPublishFailed) == lost })
	await(t, "its own peers hear it", func() bool { return all[1].heardOf(all[0]) == all[0].sent })
	began := time.Now()
	p.start(t)
	awaitNodes(t, list...)
	await(t, "both are connected", func() bool { return list[0].Stats().Connected && list[1].Stats().Connected })
	t.Logf("both are back %v after the start of the server", time.Since(began).Round(time.Millisecond))
	for _, n := range list {
		if err := n.conn.FlushTimeout(patience); err != nil { // what they want to hear is known there
			t.Fatal(err)
		}
	}
	for _, from := range []*udpPeer{all[0], all[2]} {
		from.say(t, 100)
		for _, to := range all {
			if to != from {
				await(t, to.name+" hears "+from.name+" again", func() bool { return to.last(from) == fmt.Sprint(from.sent-1) })
			}
		}
	}
	for _, n := range list {
		if got := n.dropped(DropDuplicate); got != 0 {
			t.Errorf("want nothing doubled; got %d", got)
		}
	}
	if got := list[1].dropped(DropLost); got != lost {
		t.Errorf("want %d counted as lost; got %d", lost, got)
	}
	for _, to := range all[2:] {
		if got := to.heardOf(all[0]); got != all[0].sent-lost {
			t.Errorf("want %s to hear all but the lost %d of %d; got %d", to.name, lost, all[0].sent, got)
		}
	}
}

// heardOf returns how many datagrams of another p has heard.
func (p *udpPeer) heardOf(other *udpPeer) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.heard[other.name])
}

// last returns the last that p has heard of another.
func (p *udpPeer) last(other *udpPeer) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.heard[other.name]; len(got) > 0 {
		return got[len(got)-1]
	}
	return ""
}

// Nodes that connect to different servers of a deployment hear each other, here to
// a server and to another that is its leaf.
func TestNodesAtTheLeafOfAnotherNATSHearEachOther(t *testing.T) {
	hub, leaf, between := unused(t), unused(t), unused(t)
	runNATSProgram(t, fmt.Sprintf(`
		listen: %q
		authorization { token: "hub" }
		leafnodes { listen: %q, authorization { user: "leaf", password: "up" } }
	`, hub, between))
	runNATSProgram(t, fmt.Sprintf(`
		listen: %q
		authorization { token: "leaf" }
		leafnodes { remotes: [ { url: "nats-leaf://leaf:up@%s" } ] }
	`, leaf, between))
	secret := []byte("secret")
	list := []*testNode{
		startNode(t, Options{Name: "hub", URL: "nats://hub@" + hub, Secret: secret}),
		startNode(t, Options{Name: "leaf", URL: "nats://leaf@" + leaf, Secret: secret}),
		startNode(t, Options{Name: "leaf2", URL: "nats://leaf@" + leaf, Secret: secret}),
	}
	awaitNodes(t, list...)
	talk(t, udpPeersOf(t, list, 2))
	for _, n := range list {
		wantNoDrops(t, n)
	}
}

// Users that show what an operator has signed.
func TestCredentialsLetInToTheProgramNATS(t *testing.T) {
	o := newOperated(t)
	address := unused(t)
	runNATSProgram(t, fmt.Sprintf(`
		listen: %q
		operator: %q
		resolver: MEMORY
		resolver_preload: { %s: %q }
	`, address, o.operatorJWT, o.account, o.accountJWT))
	list := startNodes(t, 2, Options{URL: "nats://" + address, Credentials: o.credentials})
	talk(t, udpPeersOf(t, list, 1))
	stranger := startNode(t, Options{Name: "stranger", URL: "nats://" + address})
	await(t, "it is told that credentials are missing", func() bool { return stranger.log.Has("uthorization") })
}

// A server that takes only messages that are shorter than those of nodes is
// told of: it has what is longer dropped.
func TestTooSmallMaxPayloadIsTold(t *testing.T) {
	address := unused(t)
	runNATSProgram(t, fmt.Sprintf("listen: %q\nmax_payload: 8192\n", address))
	list := startNodes(t, 2, Options{URL: "nats://" + address})
	for _, n := range list {
		await(t, "it is told", func() bool { return n.log.Has("want a greater max_payload there") })
	}
	list[0].tap.bring(t, said(strings.Repeat("x", 9000)))
	await(t, "what is too long is counted", func() bool { return list[0].dropped(DropPublishFailed) == 1 })
	list[0].tap.bring(t, said("short"))
	list[1].tap.wants(t, nobody+"short")
}
