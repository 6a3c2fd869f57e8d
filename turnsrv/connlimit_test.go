package turnsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/slowline"
)

func TestConnectionsWithin(t *testing.T) {
	for files, want := range map[uint64]int{0: 16, 64: 16, 128: 32, 1024: 480, 1 << 20: 1 << 16, 1<<64 - 1: 1 << 16} {
		if got := connectionsWithin(files); got != want {
			t.Errorf("%d: got %d, want %d", files, got, want)
		}
	}
}

func TestClientFiles(t *testing.T) {
	for limit, want := range map[uint64]int{0: 0, 64: 32, 128: 64, 256: 192, 1024: 960, 4096: 3840, 65536: 65024, 1<<64 - 1: 1<<31 - 1} {
		if got := clientFiles(limit); got != want {
			t.Errorf("%d: got %d, want %d", limit, got, want)
		}
	}
}

// TestConnectionsPerAddress is SECURITY case 7: one more than an address may have is refused, and others are served.
func TestConnectionsPerAddress(t *testing.T) {
	s := newSite(t, streamsConfig{ConnectionsPerIP: 3})
	var live []net.Conn
	for range 2 {
		c := s.dialTCP(s.tcp[0], "127.0.0.1")
		s.mustAsk(c)
		live = append(live, c)
	}
	c, err := s.dialTLS(s.tcp[1], "127.0.0.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		s.mustBeRefused(s.tcp[0], "127.0.0.1")
	}
	other := s.dialTCP(s.tcp[0], "127.0.0.2")
	s.mustAsk(other)
	s.mustAsk(c)
	s.mustAsk(live[0])
	_ = live[1].Close()
	until(t, "the place is given back", func() bool { return s.stats().Open == 3 })
	s.mustAsk(s.dialTCP(s.tcp[0], "127.0.0.1"))
	if got := s.stats(); got.OverShare != 5 || got.Displaced != 0 {
		t.Errorf("counted %+v", got)
	}
}

// TestConnectionsInAll has strangers give way, and clients with an allocation stay.
func TestConnectionsInAll(t *testing.T) {
	s := newSite(t, streamsConfig{Connections: 4})
	from := func(n int) string { return fmt.Sprintf("127.0.%d.1", n) }
	kept := []net.Conn{s.relayed(from(1)), s.relayed(from(2))}
	silent := s.dialTCP(s.tcp[0], from(3))
	until(t, "it is accepted", func() bool { return s.stats().HalfOpen == 1 })
	bound := s.dialTCP(s.tcp[0], from(4)) // a Binding is no merit
	s.mustAsk(bound)
	kept = append(kept, s.relayed(from(5)))
	s.mustBeReset(silent, patience)
	kept = append(kept, s.relayed(from(6)))
	s.mustBeReset(bound, patience)
	s.mustBeRefused(s.tcp[0], from(7))
	for _, c := range kept {
		s.mustAsk(c)
	}
	if got := s.stats(); got.Full != 1 || got.OverShare != 0 || got.Displaced != 2 || got.Open != 4 || got.Strangers != 0 {
		t.Errorf("counted %+v", got)
	}
	// Whoever has lost its allocation is a stranger again.
	if err := ask(kept[0], releaseRelay); err != nil {
		t.Fatal(err)
	}
	s.mustAsk(s.dialTCP(s.tcp[0], from(7)))
	s.mustBeReset(kept[0], patience)
}

// TestHandshakeDeadline is SECURITY case 5: silence, part of a handshake, and a handshake in drops.
func TestHandshakeDeadline(t *testing.T) {
	const deadline = time.Second
	s := newSite(t, streamsConfig{HandshakeTimeout: deadline})
	hello := clientHello(t)
	silent := s.dialTCP(s.tcp[0], "")
	half := s.dialTCP(s.tcp[0], "")
	_, _ = half.Write(hello[:len(hello)/2])
	whole := s.dialTCP(s.tcp[0], "")
	_, _ = whole.Write(hello)
	drops := s.dialTCP(s.tcp[0], "")
	begun := time.Now()
	go func() {
		for i := range hello {
			if _, err := drops.Write(hello[i : i+1]); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	for _, c := range []net.Conn{silent, half, whole} {
		s.mustBeReset(c, patience)
	}
	// The reset is told once, to its reader or to its writer.
	if err := closed(drops, patience); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if took := time.Since(begun); took > 3*deadline {
		t.Errorf("closed after %s", took)
	}
	c, err := s.dialTLS(s.tcp[0], "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(c)
	time.Sleep(deadline + deadline/2)
	s.mustAsk(c) // the deadline was the handshake's alone
	until(t, "all are gone", func() bool { return s.stats().Open == 1 })
	if got := s.stats(); got.Silent != 4 {
		t.Errorf("counted %+v", got)
	}
}

// clientHello is the first flight of a TLS client.
func clientHello(t testing.TB) []byte {
	t.Helper()
	a, b := net.Pipe()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: "localhost"}).Handshake()
		_ = a.Close()
	}()
	buf := make([]byte, 8<<10)
	n, err := io.ReadAtLeast(b, buf, 5)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	return buf[:n]
}

// TestHalfOpenFlood has 800 TLS handshakes that are never finished, and honest clients meanwhile.
func TestHalfOpenFlood(t *testing.T) {
	before := runtime.NumGoroutine()
	const flood, flooded = 800, 256
	s := newSite(t, streamsConfig{HandshakeTimeout: 4 * time.Second, Connections: 4096, Strangers: flooded})
	hello := clientHello(t)
	var crowd []*net.TCPConn
	for i := range flood {
		c, err := dialFrom(s.tcp[0], fmt.Sprintf("127.0.1.%d", 1+i/100))
		if err != nil {
			continue // it gave way to another before the kernel had told it that it was accepted
		}
		defer c.Close()
		_, _ = c.Write(hello)
		crowd = append(crowd, c)
	}
	begun := time.Now()
	c, err := s.dialTLS(s.tcp[0], "127.0.0.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(c)
	s.mustAsk(s.dialTCP(s.tcp[0], "127.0.0.1"))
	if took := time.Since(begun); took > 4*time.Second { // far less without the race detector
		t.Errorf("honest clients take %s", took)
	}
	if got := s.stats(); got.HalfOpen > flooded || got.Displaced+got.OverShare+got.Silent < flood-flooded {
		t.Errorf("counted %+v", got)
	}
	until(t, "the flood is over", func() bool { return s.stats().Open == 2 })
	s.mustAsk(c)
	for _, f := range crowd {
		_ = f.Close()
	}
	s.end()
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// TestCrowd has a crowd from few addresses open connections, silent ones and ones that send a Binding, as fast as it
// can. Meanwhile honest clients on slow lines do their handshakes, and each of them gets its relay.
func TestCrowd(t *testing.T) {
	s := newSite(t, streamsConfig{Connections: 512})
	ctx, stop := context.WithCancel(context.Background())
	var crowd sync.WaitGroup
	defer crowd.Wait()
	defer stop()
	for n := range 4 {
		crowd.Go(func() {
			var last [64]net.Conn
			for i := 0; ctx.Err() == nil; i++ {
				c, err := dialFrom(s.tcp[0], fmt.Sprintf("127.9.%d.%d", n, 1+i%16))
				if err != nil {
					continue
				}
				if i%2 == 0 {
					_, _ = c.Write(question(3))
				}
				if old := last[i%len(last)]; old != nil {
					_ = old.Close()
				}
				last[i%len(last)] = c
			}
			for _, c := range last {
				if c != nil {
					_ = c.Close()
				}
			}
		})
	}
	until(t, "there is no place left", func() bool { got := s.stats(); return got.Displaced+got.OverShare > 0 || got.Open > 200 })
	var honest sync.WaitGroup
	for i := range 24 {
		line, err := slowline.New(s.tcp[1].String(), fmt.Sprintf("127.8.0.%d", 1+i), 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		defer line.Close()
		honest.Go(func() {
			c, err := s.dialTLS(netip.MustParseAddrPort(line.Addr()), "", nil)
			if err == nil {
				err = ask(c, openRelay)
			}
			if err != nil {
				t.Errorf("honest client %d: %v", i, err)
			}
		})
	}
	honest.Wait()
	if got := s.stats(); got.Open-got.Strangers != 24 {
		t.Errorf("counted %+v", got)
	}
}

// TestStreamShutdown ends a server with clients in every state: all are closed, and Run waits for them.
func TestStreamShutdown(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newSite(t, streamsConfig{})
	plain := s.dialTCP(s.tcp[0], "")
	s.mustAsk(plain)
	secure, err := s.dialTLS(s.tcp[0], "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(secure)
	overUDP, err := s.dialDTLS(s.udp[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(overUDP)
	silent := s.dialTCP(s.tcp[0], "")
	halfTLS := s.dialTCP(s.tcp[0], "")
	_, _ = halfTLS.Write(clientHello(t))
	s.halfDTLS(udpSocket(t), datagramHello(t))
	until(t, "all are there", func() bool { got := s.stats(); return got.Open == 6 && got.HalfOpen == 3 })
	begun := time.Now()
	s.end()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("ending takes %s", took)
	}
	for _, c := range []net.Conn{plain, secure, overUDP} { // for DTLS EOF means a close_notify
		if err := closed(c, patience); !errors.Is(err, io.EOF) {
			t.Errorf("%T: %v", c, err)
		}
	}
	s.mustBeReset(silent, patience)
	s.mustBeReset(halfTLS, patience)
	_ = overUDP.Close()
	if got := s.stats(); got.Open != 0 || got.HalfOpen != 0 {
		t.Errorf("left %+v", got)
	}
	if _, err := net.DialTimeout("tcp", s.tcp[0].String(), patience); err == nil {
		t.Error("somebody listens still")
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}
