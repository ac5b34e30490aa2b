//go:build unix

package client

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"udprelay/internal/proof"
)

// A script is a relay that sends what it is told to, and checks what it gets.
type script struct {
	t      *testing.T
	toRead chan []byte
	closed chan struct{}
	close  sync.Once

	mu      sync.Mutex
	asked   bool      // an empty datagram has been sent since the last proof
	askedAt time.Time // when the last one was
	cookies []string  // sent
	times   []time.Time
}

const userPayload = "user"

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(p)
	switch {
	case text == "", strings.HasPrefix(text, userPayload):
		return len(p), nil
	case !s.asked:
		s.t.Errorf("%q was sent to a relay that has not asked for a proof", text)
	case text == proof.Hello:
		if time.Since(s.askedAt) > askedFor {
			s.t.Errorf("Hello was sent %v after the relay has asked", time.Since(s.askedAt))
		}
	case !slices.ContainsFunc(s.cookies, func(cookie string) bool { return text == string(proof.Join(cookie, []byte("secret"))) }):
		s.t.Errorf("%q is no proof of a cookie that was sent", text)
	default:
		s.asked = false
	}
	s.times = append(s.times, time.Now())
	if n := len(s.times); n > 20 && s.times[n-1].Sub(s.times[n-21]) < time.Second {
		s.t.Error("more than 20 texts were sent within a second")
	}
	return len(p), nil
}

func (s *script) Read(p []byte) (int, error) {
	select {
	case datagram := <-s.toRead:
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(datagram) == 0 {
			s.asked, s.askedAt = true, time.Now()
		}
		if cookie, ok := proof.Cookie(datagram); ok {
			s.cookies = append(s.cookies, cookie)
		}
		return copy(p, datagram), nil
	case <-s.closed:
		return 0, context.Canceled
	}
}

func (s *script) Close() error {
	s.close.Do(func() { close(s.closed) })
	return nil
}

// FuzzReceive has a relay send anything at any time: lines of the input, of
// which "?" is an empty datagram, "c" a cookie, and "+" a while.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("?\nc\n+\npayload\nc\n+++++++\n?\n+++++\n?\nc\n"))
	f.Add([]byte("c\nc\n?\n?\nc\nc\n?\n+\n?\n+\n?\nc\n"))
	f.Add([]byte("payload\nc\n+\nudprelay cookie 0a1b2c3d4e5f6071829\nudprelay join\n"))
	f.Add([]byte("?\nx\n?\n?\nc\nx\n+++++++++++++++++++++++++++++++++++++++\n?\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 500 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			relay := &script{t: t, toRead: make(chan []byte), closed: make(chan struct{})}
			c, err := start(context.Background(), relay, relayAddr, Options{Secret: []byte("secret")})
			if err != nil {
				t.Fatal(err)
			}
			var running sync.WaitGroup
			running.Go(func() {
				buf := make([]byte, 40)
				for {
					n, err := c.Receive(buf)
					if err != nil {
						return
					}
					if n == 0 {
						t.Error("an empty datagram was delivered")
					}
				}
			})
			running.Go(func() {
				for c.ctx.Err() == nil {
					_ = c.Send([]byte(userPayload))
					c.pause(300 * time.Millisecond)
				}
			})
			for line := range bytes.Lines(input) {
				line = bytes.TrimSuffix(line, []byte("\n"))
				switch {
				case len(line) > 0 && len(bytes.Trim(line, "+")) == 0:
					time.Sleep(time.Duration(len(line)) * 400 * time.Millisecond)
					continue
				case string(line) == "?":
					line = nil
				case string(line) == "c":
					line = []byte("udprelay cookie 0a1b2c3d4e5f60718293\n")
				case len(line) == 0:
					continue
				}
				relay.toRead <- line
				synctest.Wait()
			}
			time.Sleep(20 * time.Second)
			c.Close()
			relay.Close()
			running.Wait()
		})
	})
}
