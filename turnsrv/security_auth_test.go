package turnsrv

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// forgery is a signed request with anything in it.
type forgery struct {
	typ                   stunmsg.Type
	user, realm, password string
	nonce                 []byte
	fingerprint           bool
	add                   func(*stunmsg.Builder)
}

func (f forgery) bytes() []byte {
	id := turnclient.NewID()
	w := stunmsg.Begin(nil, f.typ, id[:])
	if f.add != nil {
		f.add(w)
	}
	key := credential.Key(f.user, f.realm, f.password)
	w.String(stunmsg.AttrUsername, f.user).String(stunmsg.AttrRealm, f.realm).Attr(stunmsg.AttrNonce, f.nonce).Integrity(key[:])
	if f.fingerprint {
		w.Fingerprint()
	}
	return w.Bytes()
}

func udpRelay(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}) }

// answer sends raw bytes and gives the answer with its error code, 0 for success.
func answer(t *testing.T, c *turnclient.Client, raw []byte) (*stunmsg.Message, int) {
	t.Helper()
	m := must(c.Exchange(within(t), raw))(t)
	v, ok := m.Get(stunmsg.AttrErrorCode)
	if !ok || len(v) < 4 {
		return m, 0
	}
	return m, int(v[2])*100 + int(v[3])
}

// challenged is a client without a credential, and the nonce that it was given.
func (s *testServer) challenged(t *testing.T, transport string) (*turnclient.Client, []byte) {
	t.Helper()
	c := must(turnclient.Dial(within(t), turnclient.Options{Transport: transport, Addr: s.plain, Timeout: 20 * time.Second}))(t)
	t.Cleanup(func() { _ = c.Close() })
	m, code := answer(t, c, c.Build(stunmsg.AllocateRequest, udpRelay))
	nonce, ok := m.Get(stunmsg.AttrNonce)
	if realm, _ := m.Get(stunmsg.AttrRealm); code != 401 || !ok || string(realm) != "crolang" {
		t.Fatalf("the challenge is %x", m.Raw)
	}
	return c, slices.Clone(nonce)
}

// Cases 16 and 18: an unknown user, a wrong password, an expired or a malformed name get the same 401, after the same
// number of HMACs, on every transport. No name makes more than one line of log, and what it holds is escaped there.
func TestCase16and18RefusalsAreAlike(t *testing.T) {
	log := &logtest.Buffer{}
	s := startServer(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	late := must(s.keys.Issue("late", -time.Hour, time.Now()))(t)
	good := must(s.keys.Issue("good", time.Hour, time.Now()))(t)
	names := []struct{ user, password string }{
		{good.Username, "wrong"}, {good.Username, ""}, {"unknown", "x"}, {late.Username, late.Password}, {late.Username, "wrong"},
		{"", "x"}, {":n", "x"}, {"-1:n", "x"}, {"+1:n", "x"}, {"1e9:n", "x"}, {"0x7fffffff:n", "x"}, {" 9999999999:n", "x"},
		{"99999999999999999999999:n", "x"}, {"9223372036854775808:n", "x"}, {"9223372036854775807:n", "x"}, {"9999999999", "x"}, {"9999999999:", "x"},
		{"9999999999:\x00", "x"}, {"9999999999:a\nb level=ERROR", "x"}, {"9999999999:\xff\xfe", "x"}, {"9999999999:\x1b[31m", "x"},
		{"9999999999:" + strings.Repeat("n", 257), "x"}, {strings.Repeat("9", 600), "x"}, {"9999999999:" + strings.Repeat("n", 600), "x"},
	}
	for _, transport := range transports {
		c, nonce := s.challenged(t, transport)
		lines := strings.Count(log.String(), "\n")
		for _, n := range names {
			for size, fingerprint := range map[int]bool{60: false, 68: true} {
				before := s.Stats().Checks
				m, code := answer(t, c, forgery{stunmsg.AllocateRequest, n.user, "crolang", n.password, nonce, fingerprint, udpRelay}.bytes())
				if checks := s.Stats().Checks - before; code != 401 || len(m.Raw) != size || m.HasIntegrity() || checks != uint64(s.keys.Len()) {
					t.Errorf("%s %.30q: %d in %d bytes after %d checks", transport, n.user, code, len(m.Raw), checks)
				}
			}
		}
		if more := strings.Count(log.String(), "\n") - lines; more > 2*len(names) {
			t.Errorf("%s: %d lines for %d requests", transport, more, 2*len(names))
		}
	}
	if text := log.String(); strings.ContainsAny(text, "\x00\x1b") || !utf8.ValidString(text) || strings.Contains(text, "b level=ERROR\n") {
		t.Errorf("not escaped: %q", text)
	}
	if s.Live() != 0 {
		t.Error("there is an allocation")
	}
	s.alive(t)
}

// Case 17: a nonce that is nonsense, another process's, or another address's is stale: a captured request is of no use.
func TestCase17NoncesOfOthers(t *testing.T) {
	s := startServer(t, nil)
	good := must(s.keys.Issue("n", time.Hour, time.Now()))(t)
	mine := func(nonce []byte) []byte {
		return forgery{typ: stunmsg.AllocateRequest, user: good.Username, realm: "crolang", password: good.Password, nonce: nonce, add: udpRelay}.bytes()
	}
	for _, transport := range transports {
		c, nonce := s.challenged(t, transport)
		for _, bad := range [][]byte{
			{}, {0}, []byte("nonsense"), bytes.Repeat([]byte{'A'}, 16), bytes.Repeat([]byte{0}, 16), bytes.Repeat([]byte{'A'}, 700),
			append(slices.Clone(nonce), 'A'), nonce[:15], append([]byte{nonce[0] ^ 1}, nonce[1:]...),
		} {
			m, code := answer(t, c, mine(bad))
			if fresh, _ := m.Get(stunmsg.AttrNonce); code != 438 || len(fresh) != 16 {
				t.Errorf("%s: nonce %q got %d", transport, bad, code)
			}
		}
		for _, other := range transports {
			from, _ := s.challenged(t, other)
			if _, code := answer(t, from, mine(nonce)); code != 438 {
				t.Errorf("from %s, replayed over %s: %d", transport, other, code)
			}
		}
		if s.Live() != 0 {
			t.Errorf("%s: an allocation was made", transport)
		}
		m, code := answer(t, c, mine(nonce))
		if code != 0 {
			t.Errorf("%s: its own nonce: %d, %x", transport, code, m.Raw)
		}
		_ = c.Close()
		for _, a := range s.Allocations() {
			s.CloseAllocation(a.ID, "the test goes on")
		}
	}
	// The same client address at another process, which has the same secret.
	c, nonce := s.challenged(t, "udp")
	local := c.LocalAddr().String()
	_ = c.Close()
	next := startServer(t, nil)
	again := must(turnclient.Dial(within(t), turnclient.Options{Transport: "udp", Addr: next.plain, Local: local, Timeout: 20 * time.Second}))(t)
	defer again.Close()
	if _, code := answer(t, again, mine(nonce)); code != 438 {
		t.Errorf("after a restart: %d", code)
	}
}

// Case 19: another realm is refused, whatever its integrity.
func TestCase19OtherRealms(t *testing.T) {
	s := startServer(t, nil)
	good := must(s.keys.Issue("n", time.Hour, time.Now()))(t)
	for _, transport := range transports {
		c, nonce := s.challenged(t, transport)
		for _, realm := range []string{"", "other", "CROLANG", "crolang ", "crolang\x00", strings.Repeat("r", 700)} {
			f := forgery{stunmsg.AllocateRequest, good.Username, realm, good.Password, nonce, true, udpRelay}
			if _, code := answer(t, c, f.bytes()); code != 401 {
				t.Errorf("%s: realm %.20q got %d", transport, realm, code)
			}
		}
		// The integrity of our realm on the name of another.
		key := credential.Key(good.Username, "crolang", good.Password)
		id := turnclient.NewID()
		w := stunmsg.Begin(nil, stunmsg.AllocateRequest, id[:])
		udpRelay(w)
		w.String(stunmsg.AttrUsername, good.Username).String(stunmsg.AttrRealm, "other").Attr(stunmsg.AttrNonce, nonce).Integrity(key[:])
		if _, code := answer(t, c, w.Bytes()); code != 401 {
			t.Errorf("%s: another realm under our key got %d", transport, code)
		}
	}
	if s.Live() != 0 {
		t.Error("there is an allocation")
	}
}

// Case 20: what stands behind MESSAGE-INTEGRITY is not signed, and ignored.
func TestCase20AttributesBehindIntegrity(t *testing.T) {
	s := startServer(t, nil)
	c, _ := s.allocated(t, "tcp", "n")
	behind := func(typ stunmsg.Type, signed, unsigned func(*stunmsg.Builder)) (*stunmsg.Message, int) {
		id := turnclient.NewID()
		w := stunmsg.Begin(nil, typ, id[:])
		unsigned(w)
		more := w.Bytes()[stunmsg.HeaderSize:]
		raw := append(c.Build(typ, signed), more...)
		binary.BigEndian.PutUint16(raw[2:], uint16(len(raw)-stunmsg.HeaderSize))
		return answer(t, c, raw)
	}
	nothing := func(*stunmsg.Builder) {}
	if m, code := behind(stunmsg.RefreshRequest, nothing, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 0) }); code != 0 || s.Live() != 1 {
		t.Errorf("LIFETIME 0 behind a Refresh: %d, %x, %d live", code, m.Raw, s.Live())
	}
	peer := netip.MustParseAddrPort("127.0.0.1:9")
	if _, code := behind(stunmsg.CreatePermissionRequest, nothing, func(w *stunmsg.Builder) { w.XORAddr(stunmsg.AttrXORPeerAddress, peer) }); code != 400 {
		t.Errorf("a peer behind a CreatePermission: %d", code)
	}
	denied := func(w *stunmsg.Builder) { w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("10.0.0.1:9")) }
	allowed := func(w *stunmsg.Builder) { w.XORAddr(stunmsg.AttrXORPeerAddress, peer) }
	if _, code := behind(stunmsg.CreatePermissionRequest, allowed, denied); code != 0 {
		t.Errorf("a denied peer behind a CreatePermission: %d", code)
	}
	if all := s.Allocations(); len(all) != 1 || all[0].Permissions != 1 {
		t.Errorf("%+v", all)
	}
	if _, code := behind(stunmsg.RefreshRequest, nothing, func(w *stunmsg.Builder) { w.Attr(0x7fff, []byte("unknown")) }); code != 0 {
		t.Errorf("an unknown attribute behind a Refresh: %d", code)
	}
}

// Case 21: another valid user on somebody's connection gets 441, and the allocation stays.
func TestCase21AnotherUser(t *testing.T) {
	s := startServer(t, nil)
	for _, transport := range transports {
		c, a := s.allocated(t, transport, "owner")
		thief := must(s.keys.Issue("thief", time.Hour, time.Now()))(t)
		sock, peer := listenUDP(t, "127.0.0.1:0")
		for _, r := range []struct {
			typ  stunmsg.Type
			add  func(*stunmsg.Builder)
			want []int
		}{
			{stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 0) }, []int{441}},
			{stunmsg.CreatePermissionRequest, func(w *stunmsg.Builder) { w.XORAddr(stunmsg.AttrXORPeerAddress, peer) }, []int{441}},
			{stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
				w.Attr(stunmsg.AttrChannelNumber, []byte{0x40, 0, 0, 0}).XORAddr(stunmsg.AttrXORPeerAddress, peer)
			}, []int{441}},
			{stunmsg.AllocateRequest, udpRelay, []int{437, 441}},
		} {
			f := forgery{r.typ, thief.Username, "crolang", thief.Password, c.Nonce(), false, r.add}
			if _, code := answer(t, c, f.bytes()); !slices.Contains(r.want, code) {
				t.Errorf("%s: %s got %d", transport, r.typ, code)
			}
		}
		all := s.Allocations()
		if len(all) != 1 || all[0].Node != "owner" || all[0].Relayed != a.Relayed || all[0].Permissions+all[0].Channels != 0 {
			t.Errorf("%s: %+v", transport, all)
		}
		if err := c.Bind(within(t), 0x4000, peer); err != nil {
			t.Fatal(err)
		}
		echoes(t, c, 0x4000, sock, "still mine")
		must(c.Refresh(within(t), 0))(t)
	}
}

// Case 22: an allocation outlives its credential, but never max_session nor, with strict_expiry, the credential.
func TestCase22Expiry(t *testing.T) {
	for _, c := range []struct {
		name string
		set  control.Settings
		ttl  time.Duration
		ends bool // within 3 s
	}{
		{"a live call outlasts its credential", control.Settings{MaxSession: time.Hour}, 2 * time.Second, false},
		{"max_session", control.Settings{MaxSession: 3 * time.Second}, time.Hour, true},
		{"strict_expiry", control.Settings{MaxSession: time.Hour, StrictExpiry: true}, 3 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, func(conf *Config) { conf.Settings.Settings = c.set })
			cred := must(s.keys.Issue("n", c.ttl, time.Now()))(t)
			o := turnclient.Options{Transport: "udp", Addr: s.plain, Username: cred.Username, Password: cred.Password}
			client := must(turnclient.Dial(within(t), o))(t)
			defer client.Close()
			begun := time.Now()
			a, err := client.Allocate(within(t), func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 3600) })
			if c.ends && turnclient.Code(err) == 401 {
				t.Skip("the machine was too busy: the credential had expired before its first use")
			}
			if err != nil || c.ends && a.Lifetime > 3*time.Second {
				t.Fatalf("%+v, %v", a, err)
			}
			for err == nil && time.Since(begun) < 4*time.Second {
				var granted time.Duration
				granted, err = client.Refresh(within(t), time.Hour)
				if left := 3*time.Second - time.Since(begun); err == nil && c.ends && granted > left+time.Second {
					t.Errorf("%s granted, %s before the end", granted, left)
				}
				time.Sleep(50 * time.Millisecond)
			}
			if !c.ends {
				if err != nil {
					t.Errorf("Refresh after %s: %v", time.Since(begun), err)
				}
				late := must(turnclient.Dial(within(t), o))(t)
				defer late.Close()
				_, err = late.Allocate(within(t), nil)
				wantCode(t, "a new allocation", err, 401)
				return
			}
			if code := turnclient.Code(err); code != 437 && code != 401 {
				t.Errorf("Refresh after %s: %v", time.Since(begun), err)
			}
			eventually(t, "it has ended", func() bool { return s.Live() == 0 })
		})
	}
}
