package turnclient

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Allocation is what the server granted.
type Allocation struct {
	Relayed  netip.AddrPort
	Also     netip.AddrPort // the second relayed address, if two were given; see [Both]
	Mapped   netip.AddrPort
	Lifetime time.Duration
	Token    []byte // RESERVATION-TOKEN, if one was given
}

// Binding asks for the client's own address as the server sees it, without a credential.
func (c *Client) Binding(ctx context.Context) (netip.AddrPort, error) {
	id := NewID()
	m, err := c.Exchange(ctx, stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes())
	if err != nil {
		return netip.AddrPort{}, err
	}
	if err := asError(stunmsg.BindingRequest, m); err != nil {
		return netip.AddrPort{}, err
	}
	v, _ := m.Get(stunmsg.AttrXORMappedAddress)
	return stunmsg.XORAddr(v, m.TransactionID())
}

// Do sends an authenticated request, fetching realm and nonce when it is challenged, and returns the success response.
// An error response is an *Error; the response is returned with it.
func (c *Client) Do(ctx context.Context, t stunmsg.Type, add func(*stunmsg.Builder)) (*stunmsg.Message, error) {
	for try := 0; ; try++ {
		m, err := c.Exchange(ctx, c.Build(t, add))
		if err != nil {
			return nil, err
		}
		err = asError(t, m)
		if code := Code(err); (code == 401 && !c.signed(m) || code == 438) && try < 3 && c.learn(m, code == 401 && try > 0) {
			continue
		}
		return m, err
	}
}

// Build makes a request with the realm and nonce that are known, or without a credential before the first challenge. It
// is nil if it does not fit into a message.
func (c *Client) Build(t stunmsg.Type, add func(*stunmsg.Builder)) []byte {
	id := NewID()
	w := stunmsg.Begin(nil, t, id[:])
	if add != nil {
		add(w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nonce != nil {
		c.sign(w)
	}
	return w.Bytes()
}

// Nonce is the nonce that the server gave last, nil before the first challenge.
func (c *Client) Nonce() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.nonce...)
}

// Realm is the realm that the server gave last, empty before the first challenge.
func (c *Client) Realm() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.realm
}

func asError(t stunmsg.Type, m *stunmsg.Message) error {
	if m.Type == t.Success() {
		return nil
	}
	if v, ok := m.Get(stunmsg.AttrErrorCode); ok && len(v) >= 4 && m.Type == t.Error() {
		e := &Error{Request: t, Code: int(v[2]&7)*100 + int(v[3]), Reason: string(v[4:])}
		if to, ok := m.Get(stunmsg.AttrAlternateServer); ok && e.Code == 300 {
			e.Alternate, _ = stunmsg.Addr(to)
		}
		return e
	}
	if m.Type == t.Error() {
		return &Error{Request: t} // package pion's answer to a peer that it refuses
	}
	return fmt.Errorf("%w to %s", ErrAnswer, t)
}

// Allocate asks for a UDP relay. more adds attributes, such as REQUESTED-ADDRESS-FAMILY; it may be nil.
func (c *Client) Allocate(ctx context.Context, more func(*stunmsg.Builder)) (Allocation, error) {
	m, err := c.Do(ctx, stunmsg.AllocateRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0})
		if more != nil {
			more(w)
		}
	})
	if err != nil {
		return Allocation{}, err
	}
	a := Allocation{Lifetime: lifetime(m)}
	m.Each(func(t uint16, v []byte) bool {
		if t == stunmsg.AttrXORRelayedAddress {
			at := &a.Relayed
			if at.IsValid() {
				at = &a.Also
			}
			*at, err = stunmsg.XORAddr(v, m.TransactionID())
		}
		return err == nil
	})
	if err != nil || !a.Relayed.IsValid() {
		return a, fmt.Errorf("the answer to Allocate has no relayed address: %w", cmp.Or(err, stunmsg.ErrAddress))
	}
	v, _ := m.Get(stunmsg.AttrXORMappedAddress)
	if a.Mapped, err = stunmsg.XORAddr(v, m.TransactionID()); err != nil {
		return a, fmt.Errorf("the answer to Allocate has no mapped address: %w", err)
	}
	a.Token, _ = m.Get(stunmsg.AttrReservationToken)
	return a, nil
}

// Both asks for a relayed address in each family (RFC 8656 §7.1): it is for Allocate.
func Both(w *stunmsg.Builder) {
	w.Attr(stunmsg.AttrAdditionalAddressFamily, []byte{stunmsg.FamilyIPv6, 0, 0, 0})
}

// Refresh asks for a lifetime; 0 gives the allocation back. It returns what was granted.
func (c *Client) Refresh(ctx context.Context, d time.Duration) (time.Duration, error) {
	m, err := c.Do(ctx, stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
		w.Uint32(stunmsg.AttrLifetime, uint32(d/time.Second))
	})
	if err != nil {
		return 0, err
	}
	return lifetime(m), nil
}

// Permit asks for permissions for the addresses of peers.
func (c *Client) Permit(ctx context.Context, peers ...netip.AddrPort) error {
	_, err := c.Do(ctx, stunmsg.CreatePermissionRequest, func(w *stunmsg.Builder) {
		for _, p := range peers {
			w.XORAddr(stunmsg.AttrXORPeerAddress, p)
		}
	})
	return err
}

// Bind binds a channel number to a peer.
func (c *Client) Bind(ctx context.Context, number uint16, peer netip.AddrPort) error {
	_, err := c.Do(ctx, stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrChannelNumber, []byte{byte(number >> 8), byte(number), 0, 0}).
			XORAddr(stunmsg.AttrXORPeerAddress, peer)
	})
	return err
}

// SendChannel sends data on a channel.
func (c *Client) SendChannel(number uint16, data []byte) error {
	b := c.Frame(nil, number, data)
	if b == nil {
		return fmt.Errorf("ChannelData with %d bytes: %w", len(data), stunmsg.ErrTooLarge)
	}
	_, err := c.conn.Write(b)
	return err
}

// Frame appends a ChannelData message, padded if the transport is a stream (RFC 8656 §12.5). Any number is taken; it
// returns nil if there is more data than the message's length can say.
func (c *Client) Frame(dst []byte, number uint16, data []byte) []byte {
	if len(data) > math.MaxUint16 {
		return nil
	}
	dst = append(dst, byte(number>>8), byte(number), byte(len(data)>>8), byte(len(data)))
	dst = append(dst, data...)
	if !c.packets {
		for range stunmsg.DataPadding(len(data)) {
			dst = append(dst, 0)
		}
	}
	return dst
}

// Send sends data to a peer in a Send indication.
func (c *Client) Send(peer netip.AddrPort, data []byte) error {
	id := NewID()
	w := stunmsg.Begin(nil, stunmsg.SendIndication, id[:]).XORAddr(stunmsg.AttrXORPeerAddress, peer).Attr(stunmsg.AttrData, data)
	if w.Err() != nil {
		return fmt.Errorf("sending to %s: %w", peer, w.Err())
	}
	_, err := c.conn.Write(w.Bytes())
	return err
}
