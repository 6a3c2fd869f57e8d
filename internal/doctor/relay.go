package doctor

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// relayResult is what got through a relay.
type relayResult struct {
	out, in bool           // to the peer, and back
	from    netip.AddrPort // where the peer saw it come from
	peer    netip.AddrPort // of relayPeer: the socket's address as the server sees it
	refused error          // the permission was not given
	skipped string         // why it was not tried
}

func (r relayResult) both() bool { return r.out && r.in }

// flow is one direction: send until wait has seen it arrive.
type flow struct {
	send func(tag []byte)
	wait func(ctx context.Context, tag []byte) (from netip.AddrPort, ok bool)
}

// exchange runs both directions at once, sending again since datagrams get lost, until both have arrived or patience ends.
func exchange(ctx context.Context, patience time.Duration, flows [2]flow) (arrived [2]bool, from [2]netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var wg sync.WaitGroup
	for i, f := range flows {
		tag := make([]byte, 16)
		_, _ = rand.Read(tag)
		got := make(chan struct{})
		wg.Go(func() {
			defer close(got)
			from[i], arrived[i] = f.wait(ctx, tag)
		})
		wg.Go(func() {
			again := time.NewTicker(150 * time.Millisecond)
			defer again.Stop()
			for {
				f.send(tag)
				select {
				case <-again.C:
				case <-got:
					return
				}
			}
		})
	}
	wg.Wait()
	return arrived, from
}

// fromRelay waits at a client for what a peer has sent to its relayed address.
func fromRelay(c *turnclient.Client) func(ctx context.Context, tag []byte) (netip.AddrPort, bool) {
	return func(ctx context.Context, tag []byte) (netip.AddrPort, bool) {
		for {
			d, err := c.Receive(ctx)
			if err != nil {
				return netip.AddrPort{}, false
			}
			if string(d.Data) == string(tag) {
				return d.Peer, true
			}
		}
	}
}

// relayPair sends between two allocations. out is from the first to the second.
func relayPair(ctx context.Context, patience time.Duration, first, second *turnclient.Client, a, b turnclient.Allocation) (r relayResult) {
	if r.refused = first.Permit(ctx, b.Relayed); r.refused != nil {
		return r
	}
	if r.refused = second.Permit(ctx, a.Relayed); r.refused != nil {
		return r
	}
	arrived, _ := exchange(ctx, patience, [2]flow{
		{func(tag []byte) { _ = first.Send(b.Relayed, tag) }, fromRelay(second)},
		{func(tag []byte) { _ = second.Send(a.Relayed, tag) }, fromRelay(first)},
	})
	r.out, r.in = arrived[0], arrived[1]
	return r
}

// relayPeer sends between an allocation and a UDP socket of this machine.
func relayPeer(ctx context.Context, patience time.Duration, c *turnclient.Client, a turnclient.Allocation, server netip.AddrPort) (r relayResult) {
	s, err := openSocket(ctx, patience, c, a, server)
	if err != nil {
		r.skipped = err.Error()
		return r
	}
	defer s.Close()
	r.peer = s.mapped
	if r.refused = c.Permit(ctx, s.mapped); r.refused != nil {
		return r
	}
	// Where relays have the same address, the permission is granted for their sake: a channel shows whether the socket may
	// be a peer.
	if err := c.Bind(ctx, stunmsg.MinChannel, s.mapped); turnclient.Code(err) == 403 {
		r.refused = err
		return r
	}
	var mu sync.Mutex
	to := s.mapped // where the relay sends: where the socket is seen, which a NAT may make another address than it told
	receive := fromRelay(c)
	arrived, from := exchange(ctx, patience, [2]flow{
		{func(tag []byte) { mu.Lock(); defer mu.Unlock(); _ = c.Send(to, tag) }, s.wait},
		{
			func(tag []byte) { _, _ = s.WriteToUDPAddrPort(tag, a.Relayed) },
			func(ctx context.Context, tag []byte) (netip.AddrPort, bool) {
				seen, ok := receive(ctx, tag)
				if ok && seen.IsValid() {
					mu.Lock()
					defer mu.Unlock()
					to = seen
				}
				return seen, ok
			},
		},
	})
	r.out, r.in, r.from = arrived[0], arrived[1], from[0]
	return r
}

// socket is the peer on this machine.
type socket struct {
	*net.UDPConn
	mapped netip.AddrPort // as the server sees it
}

// noPeer says why there can be no peer here.
type noPeer string

func (e noPeer) Error() string { return string(e) }

// openSocket opens a socket in the family of the relay and finds the address at which the server sees it: by Binding, or
// from the client's own address if there is no NAT between them.
func openSocket(ctx context.Context, patience time.Duration, c *turnclient.Client, a turnclient.Allocation, server netip.AddrPort) (*socket, error) {
	network := "udp4"
	if a.Relayed.Addr().Is6() {
		network = "udp6"
	}
	if server.Addr().Is4() != a.Relayed.Addr().Is4() {
		return nil, noPeer("the relayed address is of another family than the server's")
	}
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, noPeer("no UDP socket could be opened")
	}
	s := &socket{UDPConn: conn}
	if s.ask(ctx, patience/2, server) {
		return s, nil
	}
	if own := c.LocalAddr().Addr(); own == a.Mapped.Addr() {
		local, ok := conn.LocalAddr().(*net.UDPAddr)
		if ok {
			s.mapped = netip.AddrPortFrom(own, uint16(local.Port))
			return s, nil
		}
	}
	_ = conn.Close()
	return nil, noPeer("this network lets no UDP through to the server")
}

// ask finds the socket's mapped address by Binding.
func (s *socket) ask(ctx context.Context, patience time.Duration, server netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id := turnclient.NewID()
	request := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes()
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	found := make(chan netip.AddrPort, 1)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	reading.Go(func() {
		s.read(ctx, func(b []byte, _ netip.AddrPort) bool {
			var m stunmsg.Message
			if m.Parse(b) != nil || string(m.TransactionID()) != string(id[:]) {
				return false
			}
			v, _ := m.Get(stunmsg.AttrXORMappedAddress)
			mapped, err := stunmsg.XORAddr(v, m.TransactionID())
			if err == nil {
				found <- mapped
			}
			return err == nil
		})
	})
	for {
		if _, err := s.WriteToUDPAddrPort(request, server); err != nil {
			return false
		}
		select {
		case s.mapped = <-found:
			return true
		case <-ctx.Done():
			return false
		case <-again.C:
		}
	}
}

// wait waits for a datagram that is tag.
func (s *socket) wait(ctx context.Context, tag []byte) (from netip.AddrPort, ok bool) {
	s.read(ctx, func(b []byte, sender netip.AddrPort) bool {
		if string(b) == string(tag) {
			from, ok = netip.AddrPortFrom(sender.Addr().Unmap(), sender.Port()), true
		}
		return ok
	})
	return from, ok
}

// read gives datagrams to take until it returns true or ctx ends.
func (s *socket) read(ctx context.Context, take func(b []byte, from netip.AddrPort) bool) {
	_ = s.SetReadDeadline(time.Time{})
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = s.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		n, from, err := s.ReadFromUDPAddrPort(buf)
		if err == nil && take(buf[:n], from) {
			return
		}
	}
}
