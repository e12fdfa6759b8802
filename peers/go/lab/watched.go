package main

import (
	"encoding/binary"
	"net"
	"sync/atomic"
)

// watched counts the GOAWAY frames that arrive on a connection. It sees frame headers go by (RFC 9113 §4.1) and changes nothing.
type watched struct {
	net.Conn
	goaways *atomic.Uint64
	header  []byte
	payload uint32
}

func (w *watched) Read(buffer []byte) (int, error) {
	n, err := w.Conn.Read(buffer)
	for rest := buffer[:n]; len(rest) > 0; {
		if w.payload > 0 {
			skipped := min(w.payload, uint32(len(rest)))
			w.payload -= skipped
			rest = rest[skipped:]
			continue
		}
		taken := min(headerLength-len(w.header), len(rest))
		w.header = append(w.header, rest[:taken]...)
		rest = rest[taken:]
		if len(w.header) == headerLength {
			w.payload = binary.BigEndian.Uint32(w.header) >> 8
			if w.header[3] == typeGoaway {
				w.goaways.Add(1)
			}
			w.header = w.header[:0]
		}
	}
	return n, err
}

const (
	headerLength = 9
	typeGoaway   = 7
)
