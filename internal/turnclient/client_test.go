package turnclient

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// answering is a STUN server over UDP that answers each message with what answer makes of it.
func answering(t *testing.T, answer func(m *stunmsg.Message, from netip.AddrPort) []byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			var m stunmsg.Message
			if m.Parse(buf[:n]) != nil {
				continue
			}
			if b := answer(&m, from); b != nil {
				_, _ = conn.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	at, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	return at
}

func mappedTo(m *stunmsg.Message, to netip.AddrPort) []byte {
	return stunmsg.Begin(nil, stunmsg.BindingRequest.Success(), m.TransactionID()).XORAddr(stunmsg.AttrXORMappedAddress, to).Bytes()
}

func binding(t *testing.T, o Options) (netip.AddrPort, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, o)
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer c.Close()
	return c.Binding(ctx)
}

func TestBinding(t *testing.T) {
	seen := netip.MustParseAddrPort("203.0.113.9:4000")
	lost := true // as the first datagram is
	at := answering(t, func(m *stunmsg.Message, _ netip.AddrPort) []byte {
		if lost {
			lost = false
			return nil
		}
		return mappedTo(m, seen)
	})
	if got, err := binding(t, Options{Transport: "udp", Family: "4", Addr: at.String()}); err != nil || got != seen {
		t.Errorf("mapped %v, %v", got, err)
	}
}

func TestBindingFamily(t *testing.T) {
	at := answering(t, func(m *stunmsg.Message, from netip.AddrPort) []byte { return mappedTo(m, from) })
	if _, err := binding(t, Options{Transport: "udp", Family: "6", Addr: at.String()}); err == nil {
		t.Error("an IPv4 address was taken for IPv6")
	}
}

func TestBindingWithoutAnAddress(t *testing.T) {
	at := answering(t, func(m *stunmsg.Message, _ netip.AddrPort) []byte {
		return stunmsg.Begin(nil, stunmsg.BindingRequest.Success(), m.TransactionID()).Bytes()
	})
	if got, err := binding(t, Options{Transport: "udp", Addr: at.String()}); err == nil {
		t.Errorf("mapped %v", got)
	}
}

func TestBindingOfASilentServer(t *testing.T) {
	at := answering(t, func(*stunmsg.Message, netip.AddrPort) []byte { return nil })
	if _, err := binding(t, Options{Transport: "udp", Addr: at.String(), Timeout: 100 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
}
