package turnsrv

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// withSHA256 starts a server with SHA256 on.
func withSHA256(t *testing.T) *testServer {
	t.Helper()
	return startServer(t, func(c *Config) { c.Settings.SHA256 = true })
}

// Cases 16 and 25 with SHA256 on: answers to strangers have at most 96 bytes, and refusals are alike on every transport,
// whether the name or its hash is sent, with a key of either algorithm.
func TestSHA256RefusalsAreAlikeAndSmall(t *testing.T) {
	s := withSHA256(t)
	late := must(s.keys.Issue("late", -time.Hour, time.Now()))(t)
	good := must(s.keys.Issue("good", time.Hour, time.Now()))(t)
	for _, transport := range transports {
		c := s.client(t, transport, s.plain, "x")
		for _, typ := range []stunmsg.Type{
			stunmsg.AllocateRequest, stunmsg.RefreshRequest, stunmsg.CreatePermissionRequest, stunmsg.ChannelBindRequest, stunmsg.ConnectRequest,
		} {
			id := turnclient.NewID()
			if m, code := answer(t, c, stunmsg.Begin(nil, typ, id[:]).Fingerprint().Bytes()); code != 401 || len(m.Raw) != 96 {
				t.Errorf("%s: %s is answered with %d in %d bytes: %x", transport, typ, code, len(m.Raw), m.Raw)
			}
		}
		m, _ := answer(t, c, c.Build(stunmsg.AllocateRequest, udpRelay))
		nonce, _ := m.Get(stunmsg.AttrNonce)
		all, _ := m.Get(stunmsg.AttrPasswordAlgorithms)
		nonce, all = bytes.Clone(nonce), bytes.Clone(all)
		for _, n := range []struct{ user, password string }{
			{good.Username, "wrong"}, {"unknown", "x"}, {late.Username, late.Password}, {late.Username, "wrong"}, {"", "x"}, {"-1:n", "x"},
			{"9999999999:" + strings.Repeat("n", 600), "x"},
		} {
			for _, hashed := range []bool{false, true} {
				for _, a := range []credential.Algorithm{0, credential.MD5, credential.SHA256} {
					id := turnclient.NewID()
					w := stunmsg.Begin(nil, stunmsg.AllocateRequest, id[:])
					udpRelay(w)
					hash := credential.Userhash(n.user, "crolang")
					if hashed {
						w.Attr(stunmsg.AttrUserhash, hash[:])
					} else {
						w.String(stunmsg.AttrUsername, n.user)
					}
					w.String(stunmsg.AttrRealm, "crolang").Attr(stunmsg.AttrNonce, nonce)
					key := a.Key(n.user, "crolang", n.password)
					if a == 0 {
						w.Integrity(key)
					} else {
						w.Attr(stunmsg.AttrPasswordAlgorithms, all).Attr(stunmsg.AttrPasswordAlgorithm, []byte{0, byte(a), 0, 0}).IntegritySHA256(key)
					}
					before := s.Stats().Checks
					m, code := answer(t, c, w.Bytes())
					_, signed := m.IntegritySHA256()
					asked, _ := m.Get(stunmsg.AttrNonce)
					if checks := s.Stats().Checks - before; code != 401 || len(m.Raw) != 88 || m.HasIntegrity() || signed ||
						checks != uint64(s.keys.Len()) || !bytes.HasPrefix(asked, []byte("obMatJos2gAAA")) {
						t.Errorf("%s %.20q, hashed %v, algorithm %d: %d in %d bytes after %d checks, %q", transport, n.user, hashed, a, code, len(m.Raw), checks, asked)
					}
				}
			}
		}
	}
	if s.Live() != 0 {
		t.Error("there is an allocation")
	}
	s.alive(t)
}

// A client of RFC 8489 is served on every transport, and so are those of RFC 5389 beside it.
func TestSHA256OnEveryTransport(t *testing.T) {
	s := withSHA256(t)
	sock, peer := listenUDP(t, "127.0.0.1:0")
	for _, transport := range transports {
		cred := must(s.keys.Issue("n", time.Hour, time.Now()))(t)
		for _, modern := range []bool{true, false} {
			c := must(turnclient.Dial(within(t), turnclient.Options{
				Transport: transport, Addr: s.plain, Username: cred.Username, Password: cred.Password, SHA256: modern, Timeout: 20 * time.Second,
			}))(t)
			t.Cleanup(func() { _ = c.Close() })
			must(c.Allocate(within(t), nil))(t)
			var sent stunmsg.Message
			if err := sent.Parse(c.Build(stunmsg.RefreshRequest, nil)); err != nil {
				t.Fatal(err)
			}
			if _, hashed := sent.Get(stunmsg.AttrUserhash); hashed != modern || sent.HasIntegrity() == modern {
				t.Errorf("%s, modern %v: it sends %x", transport, modern, sent.Raw)
			}
			if err := c.Bind(within(t), 0x4000, peer); err != nil {
				t.Fatal(err)
			}
			echoes(t, c, 0x4000, sock, transport)
			must(c.Refresh(within(t), 0))(t)
		}
	}
}
