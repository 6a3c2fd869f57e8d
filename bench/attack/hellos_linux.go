package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pion/dtls/v3"
	"golang.org/x/net/ipv4"
)

// hellos sends ClientHellos of DTLS at a rate, each with random bytes of its own and a source address that has nobody behind
// it: what comes back goes nowhere.
type hellos struct {
	to   *net.UDPAddr
	rate int // in a second
	sent int
}

const hellosAtOnce = 64

func (h *hellos) run(ctx context.Context) error {
	first, err := firstHello(ctx)
	if err != nil {
		return err
	}
	sockets := make([]*ipv4.PacketConn, 16)
	for i := range sockets {
		c, err := net.ListenPacket("udp4", "0.0.0.0:0")
		if err != nil {
			return err
		}
		defer c.Close()
		sockets[i] = ipv4.NewPacketConn(c)
	}
	batch := make([]ipv4.Message, hellosAtOnce)
	for i := range batch {
		b := append([]byte(nil), first...)
		batch[i] = ipv4.Message{Buffers: [][]byte{b}, Addr: h.to}
	}
	begun := time.Now()
	for n := uint32(0); ctx.Err() == nil; {
		due := int(time.Since(begun).Seconds() * float64(h.rate))
		if h.sent+hellosAtOnce > due {
			time.Sleep(time.Millisecond)
			continue
		}
		for i := range batch {
			n++
			binary.BigEndian.PutUint32(batch[i].Buffers[0][randomAt:], n)
			ip := n * 2654435761
			batch[i].OOB = (&ipv4.ControlMessage{Src: net.IPv4(127, byte(ip>>24), byte(ip>>16), byte(ip>>8)|1)}).Marshal()
		}
		k, err := sockets[int(n/hellosAtOnce)%len(sockets)].WriteBatch(batch, 0)
		if err != nil {
			return err
		}
		h.sent += k
	}
	return nil
}

// randomAt is where the random bytes of a ClientHello begin: behind the headers of the record and of the message, and the
// version.
const randomAt = 13 + 12 + 2

// firstHello is what pion's client begins a handshake with.
func firstHello(ctx context.Context) ([]byte, error) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer server.Close()
	client, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c, err := dtls.ClientWithOptions(client, server.LocalAddr(), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	go func() { _ = c.HandshakeContext(ctx) }()
	defer c.Close()
	b := make([]byte, 2048)
	_ = server.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := server.ReadFrom(b)
	if err != nil {
		return nil, fmt.Errorf("no ClientHello: %w", err)
	}
	_, err = rand.Read(b[randomAt : randomAt+32])
	return b[:n], err
}
