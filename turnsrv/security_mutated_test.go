package turnsrv

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// mutate spoils b in one to four places, as lengths, types and ends are spoiled.
func mutate(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(4) {
		if len(b) < 4 {
			return append(b, byte(r.Uint32()))
		}
		at := r.IntN(len(b))
		switch r.IntN(8) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2, 3: // most fields of 16 bits are on even places
			at = min(at&^1, len(b)-2)
			odd := []uint16{0, 1, 3, 4, 0x7fff, 0x8000, 0xffec, 0xfffc, 0xffff, uint16(len(b)), uint16(len(b) - 20), uint16(len(b) - 24)}
			binary.BigEndian.PutUint16(b[at:], odd[r.IntN(len(odd))])
		case 4:
			b = b[:at]
		case 5:
			b = append(b, b[at:]...)
		case 6:
			copy(b[at:], b[r.IntN(len(b)):])
		case 7:
			b = append(b, make([]byte, r.IntN(64))...)
		}
	}
	return b[:min(len(b), 4000)]
}

// mutator sends one client's mutated messages.
type mutator struct {
	r     *rand.Rand
	cred  credential.Credential
	nonce []byte
	peer  netip.AddrPort
}

// body is what a request of a type has in it when it is right.
func (m *mutator) body(w *stunmsg.Builder, typ stunmsg.Type) {
	switch typ {
	case stunmsg.AllocateRequest:
		udpRelay(w)
		switch m.r.IntN(6) {
		case 0:
			w.Attr(stunmsg.AttrEvenPort, []byte{byte(m.r.IntN(2) << 7)})
		case 1:
			w.Attr(stunmsg.AttrReservationToken, make([]byte, 8))
		case 2:
			w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{byte(m.r.IntN(4)), 0, 0, 0})
		}
		w.Uint32(stunmsg.AttrLifetime, uint32(m.r.IntN(4)))
	case stunmsg.RefreshRequest:
		w.Uint32(stunmsg.AttrLifetime, uint32(m.r.IntN(4)))
	case stunmsg.CreatePermissionRequest, stunmsg.ConnectRequest:
		w.XORAddr(stunmsg.AttrXORPeerAddress, m.peer)
	case stunmsg.ChannelBindRequest:
		w.Attr(stunmsg.AttrChannelNumber, []byte{0x40, byte(m.r.IntN(4)), 0, 0}).XORAddr(stunmsg.AttrXORPeerAddress, m.peer)
	case stunmsg.SendIndication:
		w.XORAddr(stunmsg.AttrXORPeerAddress, m.peer).Attr(stunmsg.AttrData, make([]byte, m.r.IntN(40)))
	}
}

var mutatedTypes = []stunmsg.Type{
	stunmsg.BindingRequest, stunmsg.AllocateRequest, stunmsg.AllocateRequest, stunmsg.RefreshRequest, stunmsg.CreatePermissionRequest,
	stunmsg.ChannelBindRequest, stunmsg.SendIndication, stunmsg.DataIndication, stunmsg.ConnectRequest,
}

// next is a message: right, spoiled, or spoiled before it was signed, so that it gets further.
func (m *mutator) next() []byte {
	if m.r.IntN(8) == 0 {
		return mutate(m.r, append([]byte{0x40, byte(m.r.IntN(4)), 0, 8}, make([]byte, 8)...))
	}
	typ := mutatedTypes[m.r.IntN(len(mutatedTypes))]
	id := turnclient.NewID()
	w := stunmsg.Begin(nil, typ, id[:])
	m.body(w, typ)
	how := m.r.IntN(4)
	if how == 0 {
		if inner := w.Bytes()[stunmsg.HeaderSize:]; len(inner) > 0 {
			spoiled := mutate(m.r, inner)
			w = stunmsg.Begin(nil, typ, id[:])
			for len(spoiled) > 4 { // as attributes, so that what follows is found
				n := min(len(spoiled)-4, int(spoiled[3]))
				w.Attr(binary.BigEndian.Uint16(spoiled), spoiled[4:4+n])
				spoiled = spoiled[4+n:]
			}
		}
	}
	if typ.IsRequest() && typ != stunmsg.BindingRequest && m.nonce != nil {
		key := credential.Key(m.cred.Username, "crolang", m.cred.Password)
		w.String(stunmsg.AttrUsername, m.cred.Username).String(stunmsg.AttrRealm, "crolang").Attr(stunmsg.AttrNonce, m.nonce).Integrity(key[:])
	}
	if m.r.IntN(4) == 0 {
		w.Fingerprint()
	}
	if how == 1 {
		return mutate(m.r, w.Bytes())
	}
	return w.Bytes()
}

// mutated sends over one transport until ctx ends, with a new connection whenever the server has had enough, and counts.
func (s *testServer) mutated(ctx context.Context, t *testing.T, transport string, seed uint64, peer netip.AddrPort, sent *atomic.Int64) {
	r := rand.New(rand.NewPCG(38, seed))
	addr := []string{s.plain, s.tls}[seed%2]
	for ctx.Err() == nil {
		cred := must(s.keys.Issue("mutant", time.Hour, time.Now()))(t)
		// Not with ctx: whoever gives up in the middle of a handshake of DTLS leaves a server that waits for a while.
		c, err := turnclient.Dial(within(t), turnclient.Options{
			Transport: transport, Addr: addr, Username: cred.Username, Password: cred.Password, Queue: 1, Timeout: 20 * time.Second,
		})
		if err != nil {
			continue // told by the look at the end, where it stays so
		}
		m := &mutator{r: r, cred: cred, peer: peer}
		if _, err := c.Allocate(ctx, nil); err == nil {
			m.nonce = c.Nonce()
		}
		for range 200 {
			msg := m.next()
			if (transport == "tcp" || transport == "tls") && r.IntN(20) != 0 {
				// Mostly whole frames, which are looked at; what is none ends the connection.
				if n, err := stunmsg.FrameSize(append(msg, 0, 0, 0, 0)[:max(4, min(8, len(msg)))]); err != nil || n != len(msg) {
					continue
				}
			}
			if _, err := c.Conn().Write(msg); err != nil {
				break
			}
			sent.Add(1)
		}
		if tcp, ok := c.Conn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // thousands in TIME-WAIT would be in the way
		}
		_ = c.Close()
	}
}

// handshakes sends spoiled first flights of TLS and DTLS until ctx ends.
func (s *testServer) handshakes(ctx context.Context, t *testing.T, stream, datagram []byte, sent *atomic.Int64) {
	r := rand.New(rand.NewPCG(38, 38))
	u, _ := listenUDP(t, "127.0.0.1:0")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.tls))
	for ctx.Err() == nil {
		for range 20 {
			_, _ = u.WriteToUDP(mutate(r, datagram), to)
			sent.Add(1)
		}
		c, err := net.Dial("tcp", s.tls)
		if err != nil {
			continue
		}
		_, _ = c.Write(mutate(r, stream))
		sent.Add(1)
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		time.Sleep(time.Millisecond) // handshakes cost the server more than us: leave some for the others
	}
}

// Case 38: mutated messages over all transports do no harm: no panic, no growth, and everybody is served afterwards.
func TestCase38MutatedMessages(t *testing.T) {
	lasts := 5 * time.Second
	if long {
		lasts = time.Minute
	}
	log := &logtest.Buffer{}
	var ahead atomic.Int64
	s := startServer(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		c.Settings.Lifetime = 3 * time.Second // what UDP clients leave behind ends by itself
	})
	stream, datagram := clientHello(t), datagramHello(t)
	_, peer := listenUDP(t, "127.0.0.1:0")
	before := s.traces(t)
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var sent [5]atomic.Int64
	var all sync.WaitGroup
	for i := range 2 * len(transports) {
		k := i % len(transports)
		all.Go(func() { s.mutated(ctx, t, transports[k], uint64(i), peer, &sent[k]) })
	}
	all.Go(func() { s.handshakes(ctx, t, stream, datagram, &sent[4]) })
	all.Wait()
	st := s.Stats()
	t.Logf("sent %d over UDP, %d TCP, %d TLS, %d DTLS, %d handshakes; %d allocations, refused %v", sent[0].Load(), sent[1].Load(),
		sent[2].Load(), sent[3].Load(), sent[4].Load(), st.Allocated, st.Refusals)
	if n := strings.Count(log.String(), "\n"); n > 10 {
		t.Errorf("%d lines are logged, the last %s", n, log.String()[max(0, len(log.String())-1000):])
	}
	// Connections whose clients are gone are read to their end, at the rate of their Node.
	eventually(t, "no allocation is left", func() bool { return s.Live() == 0 && s.Streams().Open == 0 })
	ahead.Store(int64(31 * time.Second)) // a reservation keeps its port for 30 s
	before.files++                       // the handshakes' socket, until the test ends
	s.unharmed(t, before)
}
