//go:build linux && !portable

package relay

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// An ICMP message keeps nothing in the socket that has come in meanwhile: a flood of the one would be one of the others'
// silence.
func TestReceivingDespiteICMP(t *testing.T) {
	fd, err := udpBound(netip.AddrPortFrom(loopback4, 0), func(fd int) error { return keepErrors(fd, true) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	x, err := newRX()
	if err != nil {
		t.Fatal(err)
	}
	defer x.free()
	peer, gone := newEndpoint(t, loopback4), closed(t, loopback4)
	for i := range 3 {
		err := unix.Sendto(fd, []byte("hello"), 0, &unix.SockaddrInet4{Port: int(gone.Port()), Addr: gone.Addr().As4()})
		if err != nil {
			t.Fatal(err)
		}
		peer.to(netip.AddrPortFrom(loopback4, uint16(sa.(*unix.SockaddrInet4).Port)), []byte{byte(i)})
		if first, n := x.receive(fd); n != 1 {
			t.Fatalf("%d datagrams", n)
		} else if data, _, _ := x.datagram(first); string(data) != string([]byte{byte(i)}) {
			t.Errorf("%x", data)
		}
		if e, ok := nextError(fd); !ok || e.peer != gone {
			t.Errorf("%+v, %v", e, ok)
		}
		if _, ok := nextError(fd); ok {
			t.Error("another error")
		}
	}
}

// Where the kernel refuses to take a run of datagrams apart, each is sent for itself, whatever ICMP says of the others.
func TestICMPBetweenSegments(t *testing.T) {
	w := newWorld(t)
	c, gone := w.client(w.udp4), closed(t, loopback4)
	r := c.open(OpenOptions{})
	r.bind(0x4000, gone, ScopeAny)
	if err := unix.SetsockoptInt(r.sock.fd(), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Skip(err)
	}
	const count = 20
	c.super(c.server, bytes.Repeat(channelData(0x4000, make([]byte, 1000)), count), 1004)
	onlyUntold(t, r, count, 0)
	if limit := r.io.gsoLimit[up].Load(); limit != 1000 {
		t.Errorf("the limit is %d: nothing was refused", limit)
	}
}
