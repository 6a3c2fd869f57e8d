package relay

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// messageConn serves a connected UDP socket in the place of a DTLS connection: both keep message boundaries.
func messageConn(t *testing.T, w *world) (*endpoint, Source, chan error) {
	t.Helper()
	return messageConnOn(t, w, loopback4)
}

func messageConnOn(t *testing.T, w *world, ip netip.Addr) (*endpoint, Source, chan error) {
	t.Helper()
	client, server := newEndpoint(t, ip), newEndpoint(t, ip)
	_ = server.Close()
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(server.addr), net.UDPAddrFromAddrPort(client.addr))
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() {
		errs <- w.ServeMessages(context.Background(), conn, Tuple{DTLS, client.addr, server.addr}, nil)
	}()
	return client, w.greet(client, server.addr), errs
}

func TestMessages(t *testing.T) {
	gone := make(chan string, 1)
	w := newWorld(t, func(c *Config) { c.OnClientGone = func(_ *Relay, cause string) { gone <- cause } })
	c, src, errs := messageConn(t, w)
	peer := newEndpoint(t, loopback4)
	r, err := w.Open(src, OpenOptions{Family: 4})
	if err != nil {
		t.Fatal(err)
	}
	r.permit(loopback4, ScopeAny)
	r.bind(0x4000, peer.addr, ScopeAny)
	for _, n := range []int{0, 1, 1200} {
		data := bytes.Repeat([]byte{1}, n)
		c.to(src.Server, channelData(0x4000, data))
		peer.expect(r.Addr(), data)
		c.to(src.Server, sendIndication(peer.addr, data))
		peer.expect(r.Addr(), data)
		for range 2 {
			peer.to(r.Addr(), data)
		}
		for range 2 {
			c.expect(src.Server, channelData(0x4000, data))
		}
	}
	for range maxEmpty { // with something in between they do no harm
		c.to(src.Server, nil)
	}
	c.to(src.Server, []byte("GET / HTTP/1.1"))
	for range maxEmpty + 1 {
		c.to(src.Server, nil)
	}
	select {
	case err := <-errs:
		if err == nil {
			t.Error("no reason is given")
		}
	case <-time.After(patience):
		t.Fatal("empty records do not end the connection")
	}
	if cause := <-gone; cause == "" || w.RelayAt(r.Addr()) != nil {
		t.Error("the relay outlives its connection")
	}
}

func TestMessagesDeadline(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.AuthTimeout = 50 * time.Millisecond })
	_, _, errs := messageConn(t, w)
	select {
	case err := <-errs:
		if err == nil {
			t.Error("no reason is given")
		}
	case <-time.After(patience):
		t.Fatal("the connection does not end")
	}
}

func TestTransportNames(t *testing.T) {
	for tr, want := range map[Transport]string{UDP: "udp", TCP: "tcp", TLS: "tls", DTLS: "dtls", 9: "transport 9"} {
		if tr.String() != want {
			t.Errorf("%d is %q", tr, tr)
		}
	}
}
