package control

import (
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// BenchmarkAuthenticate is what an authentication computes, without what the request is for and without the answer of one
// that succeeds: as RFC 5389 has it where turn.sha256 is off and on, and as RFC 8489 has it.
func BenchmarkAuthenticate(b *testing.B) {
	for name, c := range map[string]struct{ server, client bool }{
		"off": {false, false}, "on, an old client": {true, false}, "on": {true, true},
	} {
		b.Run(name, func(b *testing.B) { benchmarkAuthenticate(b, c.server, c.client) })
	}
}

func benchmarkAuthenticate(b *testing.B, server, client bool) {
	var at time.Duration
	begun := time.Now().Truncate(time.Second)
	r := newRig(b, func(c *Config, _ *relay.Config) {
		c.Now = func() time.Time { return begun.Add(at) }
		c.Settings.SHA256 = server
	})
	cred, err := r.keys.Issue("node", 24*time.Hour, begun)
	if err != nil {
		b.Fatal(err)
	}
	c, err := turnclient.Dial(within(b), turnclient.Options{
		Transport: "udp", Addr: r.addr, Username: cred.Username, Password: cred.Password, SHA256: client,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	allocate(b, c)
	src := *r.last.Load()
	good, plain := c.Build(stunmsg.RefreshRequest, nil), turnclient.NewID()
	bad := append([]byte(nil), good...)
	bad[len(bad)-1] ^= 1
	for _, k := range []struct {
		name string
		src  relay.Source
		raw  []byte
		ok   bool
	}{
		{"of a session", src, good, true},
		{"of a stranger", relay.Source{Tuple: src.Tuple}, good, true},
		{"refused", relay.Source{Tuple: src.Tuple}, bad, false},
		{"challenge", relay.Source{Tuple: src.Tuple}, stunmsg.Begin(nil, stunmsg.AllocateRequest, plain[:]).Bytes(), false},
	} {
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				at = (at + time.Millisecond) % (30 * time.Minute) // within all rates, and the nonce's life
				q := request{c: r.Control, src: k.src}
				if q.msg.Parse(k.raw) != nil || !q.msg.CheckFingerprint() {
					b.Fatal("no message")
				}
				q.begun()
				if q.authenticate() != k.ok {
					b.Fatal("not so")
				}
			}
		})
	}
}
