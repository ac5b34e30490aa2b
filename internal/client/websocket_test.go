package client

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// A message that is cut off by the end of the connection is no datagram.
func TestMessagesThatAreCutOff(t *testing.T) {
	for name, cut := range map[string][]byte{
		"after the head":        {0x82, 5},
		"in the payload":        {0x82, 5, 'h', 'e'},
		"between two fragments": {0x02, 5, 'h', 'e', 'l', 'l', 'o'},
		"after the second head": {0x02, 5, 'h', 'e', 'l', 'l', 'o', 0x80, 1},
	} {
		t.Run(name, func(t *testing.T) {
			wire := dialRaw(t, append([]byte{0x82, 5, 'w', 'h', 'o', 'l', 'e'}, cut...))
			defer wire.close(time.Now())
			datagram := make([]byte, MaxPayload)
			if n, err := wire.receive(datagram); err != nil || string(datagram[:n]) != "whole" {
				t.Fatalf("want the whole message; got %q, %v", datagram[:n], err)
			}
			if n, err := wire.receive(datagram); err == nil {
				t.Errorf("want an error; got %q", datagram[:n])
			}
		})
	}
}

// dialRaw connects to a relay that says nothing but frames, and goes.
func dialRaw(t *testing.T, frames []byte) *messageWire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455, section 1.3
		accept := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + guid))
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			base64.StdEncoding.EncodeToString(accept[:]), subprotocol)
		conn.Write(frames)
	}()
	address, err := ParseAddress("ws://" + listener.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	wire, _, err := dialWebSocket(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}
