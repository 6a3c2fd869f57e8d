package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// misuse is one valid credential that does its worst, all at once: binds that change nothing, for thousands of channels;
// permissions for a thousand peers in one message, on ever new allocations; and allocations that fill up with permissions.
type misuse struct {
	to     string
	secret string
	rate   int // of binds, in a second
	did    atomic.Int64
}

const (
	misusedChannels = 4000
	misusedPeers    = 1024 // of one message
	misusedPlaces   = 100  // allocations that stay
)

func (m *misuse) run(ctx context.Context) error {
	var all sync.WaitGroup
	var err error
	all.Go(func() { err = m.binds(ctx) })
	for range 2 {
		all.Go(func() { m.permits(ctx) })
	}
	all.Go(func() { m.fills(ctx) })
	all.Wait()
	return err
}

// client has an allocation.
func (m *misuse) client(ctx context.Context) (*turnclient.Client, error) {
	cred, err := issue(m.secret, "mallory")
	if err != nil {
		return nil, err
	}
	c, err := turnclient.Dial(ctx, turnclient.Options{Transport: "udp", Addr: m.to, Username: cred.Username, Password: cred.Password})
	if err != nil {
		return nil, err
	}
	if _, err := c.Allocate(ctx, nil); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// binds as many channels as it is let, and then binds them again and again, at the rate.
func (m *misuse) binds(ctx context.Context) error {
	c, err := m.client(ctx)
	if err != nil {
		return fmt.Errorf("binding channels: %w", err)
	}
	defer c.Close()
	pool := make([][]byte, misusedChannels)
	for i := range pool {
		pool[i] = c.Build(stunmsg.ChannelBindRequest, func(b *stunmsg.Builder) {
			number := 0x4000 + i
			b.Attr(stunmsg.AttrChannelNumber, []byte{byte(number >> 8), byte(number), 0, 0}).XORAddr(stunmsg.AttrXORPeerAddress, netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, 8}), uint16(1000+i)))
		})
	}
	begun := time.Now()
	for n := 0; ctx.Err() == nil; {
		if n >= int(time.Since(begun).Seconds()*float64(m.rate)) {
			time.Sleep(time.Millisecond)
			continue
		}
		_, _ = c.Conn().Write(pool[n%len(pool)])
		n++
		m.did.Add(1)
	}
	return nil
}

// permits asks for many peers at once, on one allocation after the other.
func (m *misuse) permits(ctx context.Context) {
	peers := manyPeers(0)
	for ctx.Err() == nil {
		c, err := m.client(ctx)
		if err != nil { // it is let have no more for now
			pause(ctx, 10*time.Millisecond)
			continue
		}
		_ = c.Permit(ctx, peers...)
		_, _ = c.Refresh(ctx, 0)
		_ = c.Close()
		m.did.Add(3)
	}
}

// fills makes allocations that stay, each with as many permissions as it is given.
func (m *misuse) fills(ctx context.Context) {
	var kept []*turnclient.Client
	defer func() {
		for _, c := range kept {
			_ = c.Close()
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		if len(kept) < misusedPlaces {
			if c, err := m.client(ctx); err == nil {
				kept = append(kept, c)
			}
		}
		if len(kept) > 0 {
			_ = kept[n%len(kept)].Permit(ctx, manyPeers(n)...)
			m.did.Add(1)
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// manyPeers are different ones for each n.
func manyPeers(n int) []netip.AddrPort {
	peers := make([]netip.AddrPort, misusedPeers)
	for i := range peers {
		peers[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, byte(n), byte(i >> 8), byte(i)}), 1)
	}
	return peers
}
