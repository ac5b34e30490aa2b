// Plainloop runs the baseline of the benchmarks: plainloop PORT.
package main

import (
	"log"
	"net"
	"os"
	"strconv"

	"udprelay/internal/plainloop"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: plainloop PORT")
	}
	port, err := strconv.ParseUint(os.Args[1], 10, 16)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(plainloop.Serve(conn))
}
