package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/capture"
	"udprelay/internal/testlog"
	"udprelay/internal/testwait"
)

// startTap begins a recording of d, whose control socket is in the directory.
func startTap(t *testing.T, d *running, directory string, wish admin.Tap) (save func(*capture.Output) (capture.Saved, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	client := admin.Client{Socket: filepath.Join(directory, controlName)}
	recording, err := client.Tap(ctx, wish)
	for deadline := time.Now().Add(testwait.Patience); admin.Absent(err) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		recording, err = client.Tap(ctx, wish) // it was not open yet
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		recording.Close()
	})
	d.await(t, "a recording begins")
	return func(out *capture.Output) (capture.Saved, error) { return capture.Save(ctx, recording, out, 0) }
}

// Who begins a recording and does not read it costs the peers nothing: each
// datagram arrives at once, in order, while the recording is full. What is
// missing in it is counted to the last one.
func TestAReaderOfARecordingThatDoesNotReadCostsNobodyADatagram(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, allow("loopback"))
	listener, speaker := enter(t, "127.0.0.2", d.addr(t)), enter(t, "127.0.0.3", d.addr(t))
	save := startTap(t, d, directory, admin.Tap{})

	const datagrams, size = 2000, 9000 // 18 MB, and 8 MiB and some buffers may wait
	buffer := make([]byte, size+1)
	for i := range datagrams {
		said := fmt.Sprintf("%05d", i) + strings.Repeat("x", size-5)
		speaker.say(t, said)
		listener.SetReadDeadline(time.Now().Add(testwait.Patience))
		if n, err := listener.Read(buffer); err != nil || string(buffer[:n]) != said {
			t.Fatalf("want datagram %d as it was sent, got %d bytes, %v", i, n, err)
		}
	}

	var data testlog.Log
	type result struct {
		capture.Saved
		error
	}
	saved := make(chan result, 1)
	go func() {
		s, err := save(capture.ToWriter(&data))
		saved <- result{s, err}
	}()
	said := uint64(datagrams)
	for deadline := time.Now().Add(testwait.Patience); !data.Has("the end"); said++ {
		if time.Now().After(deadline) {
			t.Fatal("want the recording to go on when it is read")
		}
		speaker.say(t, "the end")
		listener.hears(t, "the end")
	}
	awaitRelayed(t, directory, said)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	got := <-saved
	if got.error != nil || got.Missing == 0 || got.Datagrams == 0 || got.Datagrams+got.Missing != said {
		t.Errorf("want recorded and missing to make %d, got %+v", said, got)
	}
	d.await(t, fmt.Sprintf(`a recording ends" datagrams=%d missing=%d`, got.Datagrams, got.Missing))
	d.await(t, `msg=stopped .*dropped=0 `)
}

// awaitRelayed waits until so many datagrams have been relayed. Links are told
// when peers have been: not all may be when a peer hears the last.
func awaitRelayed(t *testing.T, directory string, want uint64) {
	t.Helper()
	client := admin.Client{Socket: filepath.Join(directory, controlName)}
	var status admin.Status
	testwait.Until(t, func() bool {
		var err error
		if status, err = client.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		return status.Counters.Relayed == want
	}, func() string { return fmt.Sprintf("want %d relayed, got %+v", want, status.Counters) })
}

// Two recordings at once are two: each has what it asks for.
func TestRecordingsDoNotDisturbEachOther(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, allow("loopback"))
	one, two := enter(t, "127.0.0.2", d.addr(t)), enter(t, "127.0.0.3", d.addr(t))
	saveAll := startTap(t, d, directory, admin.Tap{})
	saveOne := startTap(t, d, directory, admin.Tap{Peers: []string{"127.0.0.2"}})
	d.await(t, `(?s)a recording begins.*a recording begins`)
	for range 10 {
		one.say(t, "one")
		two.hears(t, "one")
		two.say(t, "two")
		one.hears(t, "two")
	}
	awaitRelayed(t, directory, 20)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		save func(*capture.Output) (capture.Saved, error)
		want uint64
	}{{saveAll, 20}, {saveOne, 10}} {
		var data testlog.Log
		if got, err := test.save(capture.ToWriter(&data)); err != nil || got.Datagrams != test.want || got.Missing != 0 {
			t.Errorf("want %d datagrams and none missing, got %+v, %v", test.want, got, err)
		}
		if data.Has("two") != (test.want == 20) || !data.Has("one") {
			t.Errorf("want the payloads of those who are wanted in the recording of %d", test.want)
		}
	}
}
