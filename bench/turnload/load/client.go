package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const (
	channel       = stunmsg.MinChannel
	socketBuf     = 4 << 20
	credentialTTL = 12 * time.Hour
)

// packets reads and writes several datagrams in one system call.
type packets interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// client is one allocation with its peer. turnclient opens it; then the connection is taken from it, because it reads
// each datagram for itself and that would cost the generator more than the server.
type client struct {
	index          int
	user, password string
	conn           net.Conn // to the server
	udp            packets  // conn, where it is a UDP socket
	relayed        *net.UDPAddr
	peer           *net.UDPConn // nil with Setup
	peerPackets    packets
	bound          netip.AddrPort // the peer's address

	mu    sync.Mutex
	realm string
	nonce []byte
}

// open opens all allocations, Dialers at a time, and says how long each took. What was opened is returned with an error
// too.
func (r *run) open(ctx context.Context) ([]*client, *histogram, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu      sync.Mutex
		clients = make([]*client, 0, r.Clients)
		took    histogram
		wg      sync.WaitGroup
		next    = make(chan int)
	)
	for range min(r.Dialers, r.Clients) {
		wg.Go(func() {
			for i := range next {
				start := time.Now()
				c, err := r.dial(ctx, i)
				d := time.Since(start)
				if err != nil {
					cancel(fmt.Errorf("client %d of %d: %w", i+1, r.Clients, err))
					continue
				}
				mu.Lock()
				clients = append(clients, c)
				took.add(int64(d))
				mu.Unlock()
			}
		})
	}
	for i := 0; i < r.Clients && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	err := context.Cause(ctx)
	if r.crowd != nil {
		err = errors.Join(err, r.crowd.take(clients))
	}
	return clients, &took, err
}

// dial opens one allocation. Where an earlier one is left on the same port (437) it tries another.
func (r *run) dial(ctx context.Context, i int) (c *client, err error) {
	for range 4 {
		if c, err = r.dialOnce(ctx, i); turnclient.Code(err) != 437 {
			break
		}
	}
	return c, err
}

func (r *run) dialOnce(ctx context.Context, i int) (_ *client, err error) {
	c := &client{index: i, user: r.Username, password: r.Password}
	if r.Secret != "" {
		keys, err := credential.NewKeyring(r.Secret, nil)
		if err != nil {
			return nil, err
		}
		cred, err := keys.Issue(fmt.Sprintf("turnload-%08x-%d", r.id, i), credentialTTL, time.Now())
		if err != nil {
			return nil, err
		}
		c.user, c.password = cred.Username, cred.Password
	}
	o := turnclient.Options{Transport: r.Transport, Addr: r.Server, Username: c.user, Password: c.password, Queue: 1}
	if r.crowd != nil {
		o.Family, o.Local = "4", r.crowd.client(i).String()
	}
	t, err := turnclient.Dial(ctx, o)
	if r.crowd != nil && errors.Is(err, syscall.EADDRNOTAVAIL) {
		err = fmt.Errorf("this machine does not have all addresses of %[1]s (ip route add local %[1]s dev …): %[2]w", r.Hosts, err)
	}
	if err != nil {
		return nil, err
	}
	c.conn = t.Conn()
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	a, err := t.Allocate(ctx, nil)
	if err != nil {
		return nil, explain(err, r.Config, "")
	}
	c.relayed = net.UDPAddrFromAddrPort(a.Relayed)
	if r.Direction != Setup {
		if err = c.bind(ctx, t, r); err != nil {
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_, _ = t.Refresh(back, 0) // a courtesy: it ends by itself, too
			return nil, err
		}
	}
	if err = c.take(t); err == nil && r.crowd != nil {
		err = r.crowd.join(c)
	}
	return c, err
}

// bind opens the peer's socket, unless peers share some, and binds the channel to it.
func (c *client) bind(ctx context.Context, t *turnclient.Client, r *run) error {
	if r.crowd != nil {
		c.bound = r.crowd.peer(c.index)
		if err := t.Bind(ctx, channel, c.bound); err != nil {
			return explain(err, r.Config, c.bound.Addr().String())
		}
		return nil
	}
	local := r.Peer
	if local == "" {
		probe, err := net.DialUDP("udp", nil, c.relayed) // sends nothing: asks the kernel for the route
		if err != nil {
			return fmt.Errorf("no way to the relayed address %v: %w", c.relayed, err)
		}
		local = probe.LocalAddr().(*net.UDPAddr).IP.String()
		_ = probe.Close()
	}
	var err error
	if c.peer, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local)}); err != nil {
		return fmt.Errorf("opening a peer's socket: %w", err)
	}
	a := c.peer.LocalAddr().(*net.UDPAddr).AddrPort()
	c.bound = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	c.peerPackets = batched(c.peer)
	if err := t.Bind(ctx, channel, c.bound); err != nil {
		return explain(err, r.Config, local)
	}
	return nil
}

// batched sets large buffers, as far as the kernel allows. ipv4's and ipv6's batches are the same underneath.
func batched(u *net.UDPConn) packets {
	_, _ = u.SetReadBuffer(socketBuf), u.SetWriteBuffer(socketBuf)
	return ipv4.NewPacketConn(u)
}

// take ends t's reader and keeps its connection.
func (c *client) take(t *turnclient.Client) error {
	if err := c.learn(t); err != nil {
		return err
	}
	if err := c.conn.SetReadDeadline(time.Now()); err != nil {
		return err
	}
	<-t.Ended()
	if u, ok := c.conn.(*net.UDPConn); ok {
		c.udp = batched(u)
	}
	return c.conn.SetReadDeadline(time.Time{})
}

// learn reads realm and nonce out of a request of t's.
func (c *client) learn(t *turnclient.Client) error {
	var m stunmsg.Message
	if err := m.Parse(t.Build(stunmsg.RefreshRequest, nil)); err != nil {
		return err
	}
	realm, _ := m.Get(stunmsg.AttrRealm)
	c.realm, c.nonce = string(realm), t.Nonce()
	return nil
}

// write sends one authenticated request; the answer is for heard.
func (c *client) write(t stunmsg.Type, add func(*stunmsg.Builder)) error {
	id := turnclient.NewID()
	w := stunmsg.Begin(nil, t, id[:])
	add(w)
	c.mu.Lock()
	key := credential.Key(c.user, c.realm, c.password)
	w.String(stunmsg.AttrUsername, c.user).String(stunmsg.AttrRealm, c.realm).Attr(stunmsg.AttrNonce, c.nonce)
	c.mu.Unlock()
	_, err := c.conn.Write(w.Integrity(key[:]).Bytes())
	return err
}

// refresh keeps allocation, permission and channel. Its answers, and new nonces in them, are for heard.
func (c *client) refresh() error {
	return errors.Join(
		c.write(stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 600) }),
		c.write(stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
			w.Attr(stunmsg.AttrChannelNumber, []byte{channel >> 8, channel & 0xff, 0, 0}).
				XORAddr(stunmsg.AttrXORPeerAddress, c.bound)
		}))
}

// heard takes a message of the server's that is no ChannelData: a stale nonce is replaced and the request repeated with
// the next refresh.
func (c *client) heard(b []byte) {
	var m stunmsg.Message
	if m.Parse(b) != nil {
		return
	}
	code, _ := m.Get(stunmsg.AttrErrorCode)
	nonce, ok := m.Get(stunmsg.AttrNonce)
	if !ok || len(code) < 4 || code[2]&7 != 4 || code[3] != 38 {
		return
	}
	c.mu.Lock()
	c.nonce = append(c.nonce[:0], nonce...)
	c.mu.Unlock()
}

// release gives the allocations back, without waiting for the answers, so that a later run whose sockets land on the
// same ports is not refused with 437. It pauses now and then, so that the server's socket can hold them all.
func release(clients []*client) {
	for i, c := range clients {
		if i%32 == 31 {
			time.Sleep(2 * time.Millisecond)
		}
		_ = c.conn.SetDeadline(time.Now().Add(time.Second))
		_ = c.write(stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 0) })
	}
	for _, c := range clients {
		c.close()
	}
}

func (c *client) close() {
	_ = c.conn.Close()
	if c.peer != nil {
		_ = c.peer.Close()
	}
}
