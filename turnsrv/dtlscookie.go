package turnsrv

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"reflect"
	"sync"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Before a stranger's ClientHello costs anything, its sender has to show that it receives what is sent to its address
// (RFC 6347 §4.2.1). Package dtls makes a connection for the first ClientHello of anybody, with goroutines and some 40
// kB, and keeps the cookie there. So the cookie is ours: it is computed anew from the second ClientHello, and nothing
// is kept in between. Package dtls comes in when it was right. It is told of a first ClientHello, which is the second
// one without its cookie, its HelloVerifyRequest goes nowhere, and the cookie that it chose is replaced by the one that
// the client has.

const (
	cookieLen = 20 // as package dtls has it
	// A cookie is good until the end of the next period: between one and two.
	cookiePeriod = time.Minute
)

// cookies makes and checks cookies. Its methods are safe for concurrent use.
type cookies struct {
	key  [32]byte
	macs sync.Pool // of *cookieMAC
	now  func() time.Time
}

type cookieMAC struct {
	hash.Hash
	in  [64]byte
	sum []byte
	out [recordHeader + handshakeHeader + 3 + cookieLen]byte
}

func newCookies() *cookies {
	c := &cookies{now: time.Now}
	_, _ = rand.Read(c.key[:])
	c.macs.New = func() any { return &cookieMAC{Hash: hmac.New(sha256.New, c.key[:])} }
	return c
}

// bake writes the cookie for a ClientHello from src in a period into dst: the period's last bits, then a MAC of both
// ends' addresses, the period, and what no client changes between its two hellos.
func (m *cookieMAC) bake(dst []byte, src relay.Source, h *hello, period int64) {
	m.Reset()
	b := binary.BigEndian.AppendUint64(m.in[:0], uint64(period))
	for _, a := range [2]struct {
		ip   [16]byte
		port uint16
	}{{src.Client.Addr().As16(), src.Client.Port()}, {src.Server.Addr().As16(), src.Server.Port()}} {
		b = append(b, a.ip[:]...)
		b = binary.BigEndian.AppendUint16(b, a.port)
	}
	_, _ = m.Write(b)
	_, _ = m.Write(h.fixed)
	m.sum = m.Sum(m.sum[:0])
	dst[0] = byte(period)
	copy(dst[1:cookieLen], m.sum)
}

func (c *cookies) period() int64 { return c.now().Unix() / int64(cookiePeriod/time.Second) }

// ask answers a first ClientHello with a HelloVerifyRequest, which is smaller, and keeps nothing.
func (c *cookies) ask(src relay.Source, h *hello) {
	m := c.macs.Get().(*cookieMAC)
	defer c.macs.Put(m)
	const body = 3 + cookieLen
	b := append(m.out[:0], recordHandshake, 0xfe, 0xfd, 0, 0)
	b = appendUint48(b, h.record) // the client's own, since nothing is counted here
	b = append(b, 0, handshakeHeader+body, verifyRequestMessage, 0, 0, body, 0, 0, 0, 0, 0, 0, 0, body, 0xfe, 0xfd, cookieLen)
	b = b[:len(m.out)]
	m.bake(b[len(b)-cookieLen:], src, h, c.period())
	src.Send(b)
}

// valid reports whether a ClientHello has a cookie that its sender was given not long ago.
func (c *cookies) valid(src relay.Source, h *hello) bool {
	if len(h.cookie) != cookieLen {
		return false
	}
	period := c.period()
	switch h.cookie[0] {
	case byte(period):
	case byte(period - 1):
		period--
	default:
		return false
	}
	m := c.macs.Get().(*cookieMAC)
	defer c.macs.Put(m)
	var want [cookieLen]byte
	m.bake(want[:], src, h, period)
	return hmac.Equal(want[:], h.cookie)
}

// setCookie makes conn, a server, take cookie for the one that it has chosen itself; it reports whether it could.
// Package dtls has no option for that. What it calls its cookie is read by reflection, and overwritten in place; the
// caller is on the goroutine that does conn's handshake.
func setCookie(conn *dtls.Conn, cookie []byte) bool {
	state := reflect.ValueOf(conn).Elem().FieldByName("state")
	if state.Kind() != reflect.Struct {
		return false
	}
	field := state.FieldByName("cookie")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]byte]() || field.Len() != len(cookie) {
		return false
	}
	copy(field.Bytes(), cookie)
	return true
}
