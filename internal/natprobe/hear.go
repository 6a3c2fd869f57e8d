package natprobe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

func newID() (id [12]byte) {
	_, _ = rand.Read(id[:])
	return id
}

// hear waits until all questions are answered, and asks again twice meanwhile. With ErrSilent some of them are not.
func (s *socket) hear(ctx context.Context, all ...question) ([]*answer, error) {
	got := make([]*answer, len(all))
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for try := 1; try <= 3; try++ {
		if err := s.collect(ctx, all, got, time.Now().Add(s.patience/3)); err != nil {
			return got, err
		}
		switch {
		case ctx.Err() != nil:
			return got, ctx.Err()
		case !slices.Contains(got, nil):
			return got, nil
		}
		for i, q := range all {
			if got[i] == nil && try < 3 {
				if err := s.again(q); err != nil {
					return got, err
				}
			}
		}
	}
	return got, fmt.Errorf("%w from %s", ErrSilent, all[slices.Index(got, nil)].to)
}

// collect reads answers until there is one to every question, or the time has come.
func (s *socket) collect(ctx context.Context, all []question, got []*answer, until time.Time) error {
	_ = s.conn.SetReadDeadline(until)
	if err := ctx.Err(); err != nil { // else its end moves the deadline
		return err
	}
	buf := make([]byte, 2048)
	for slices.Contains(got, nil) {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout() || time.Now().After(until):
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // what ICMP has left on the socket
			continue
		}
		var m stunmsg.Message
		if m.Parse(buf[:n]) != nil || m.Type != stunmsg.BindingRequest.Success() && m.Type != stunmsg.BindingRequest.Error() {
			continue
		}
		for i, q := range all {
			if got[i] == nil && string(m.TransactionID()) == string(q.raw[8:stunmsg.HeaderSize]) {
				got[i] = read(&m, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			}
		}
	}
	return nil
}

// read takes what counts out of an answer. What is malformed is as if it were not there.
func read(m *stunmsg.Message, from netip.AddrPort) *answer {
	a := &answer{from: from}
	get := func(t uint16) []byte { v, _ := m.Get(t); return v }
	a.plain, _ = stunmsg.Addr(get(stunmsg.AttrMappedAddress))
	a.other, _ = stunmsg.Addr(get(stunmsg.AttrOtherAddress))
	if a.mapped, _ = stunmsg.XORAddr(get(stunmsg.AttrXORMappedAddress), m.TransactionID()); !a.mapped.IsValid() {
		a.mapped = a.plain
	}
	if v := get(stunmsg.AttrErrorCode); len(v) >= 4 {
		a.code = int(v[2]&7)*100 + int(v[3])
	} else if m.Type == stunmsg.BindingRequest.Error() {
		a.code = 500
	}
	return a
}
