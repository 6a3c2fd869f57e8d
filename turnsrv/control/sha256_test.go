package control

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// modern is a client of RFC 8489.
func (r *rig) modern(t testing.TB, c credential.Credential) *turnclient.Client {
	t.Helper()
	client, err := turnclient.Dial(within(t), turnclient.Options{
		Transport: "udp", Addr: r.addr, Username: c.Username, Password: c.Password, SHA256: true, Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (r *rig) issue(t testing.TB, node string, ttl time.Duration) credential.Credential {
	t.Helper()
	c, err := r.keys.Issue(node, ttl, r.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// say is a request with anything in it, from a client that has its own idea of who it is.
type say struct {
	typ   stunmsg.Type
	add   func(*stunmsg.Builder)
	user  string // none if empty
	hash  []byte
	realm string // none if empty
	nonce []byte
	all   []byte // PASSWORD-ALGORITHMS
	one   []byte // PASSWORD-ALGORITHM
	sha1  []byte // key of MESSAGE-INTEGRITY
	sha2  []byte // key of MESSAGE-INTEGRITY-SHA256
	raw2  []byte // MESSAGE-INTEGRITY-SHA256 as it is
	after func(*stunmsg.Builder)
}

func (s say) bytes() []byte {
	id := turnclient.NewID()
	w := stunmsg.Begin(nil, s.typ, id[:])
	if s.add != nil {
		s.add(w)
	}
	if s.user != "" {
		w.String(stunmsg.AttrUsername, s.user)
	}
	for at, v := range map[uint16][]byte{
		stunmsg.AttrUserhash: s.hash, stunmsg.AttrRealm: []byte(s.realm), stunmsg.AttrNonce: s.nonce,
		stunmsg.AttrPasswordAlgorithms: s.all, stunmsg.AttrPasswordAlgorithm: s.one,
	} {
		if v != nil && (at != stunmsg.AttrRealm || len(v) > 0) {
			w.Attr(at, v)
		}
	}
	if s.sha1 != nil {
		w.Integrity(s.sha1)
	}
	if s.sha2 != nil {
		w.IntegritySHA256(s.sha2)
	}
	if s.raw2 != nil {
		w.Attr(stunmsg.AttrMessageIntegritySHA256, s.raw2)
	}
	if s.after != nil {
		s.after(w)
	}
	return w.Bytes()
}

func udpRelay(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}) }

func answered(t *testing.T, c *turnclient.Client, raw []byte) (*stunmsg.Message, int) {
	t.Helper()
	m, err := c.Exchange(within(t), raw)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := m.Get(stunmsg.AttrErrorCode)
	if len(v) < 4 {
		return m, 0
	}
	return m, int(v[2])*100 + int(v[3])
}

// nonceOf checks a challenge of a server with SHA256 on and returns its nonce.
func nonceOf(t *testing.T, m *stunmsg.Message, want features) []byte {
	t.Helper()
	nonce, _ := m.Get(stunmsg.AttrNonce)
	all, _ := m.Get(stunmsg.AttrPasswordAlgorithms)
	if f, rest := featuresOf(nonce); f != want || len(rest) != nonceLen || !bytes.Equal(all, algorithms) || len(m.Raw) > 96 {
		t.Errorf("a challenge of %d bytes with %q, %x; want features %x", len(m.Raw), nonce, all, want)
	}
	return slices.Clone(nonce)
}

const bothFeatures = passwordAlgorithms | usernameAnonymity

// A client of RFC 8489 is asked for its name's hash and has a key of SHA-256; one of RFC 5389 sees no difference.
func TestSHA256(t *testing.T) {
	r := newRig(t, settings(Settings{SHA256: true}))
	cred := r.issue(t, "n", time.Hour)
	key := credential.SHA256.Key(cred.Username, rigRealm, cred.Password)
	hash := credential.Userhash(cred.Username, rigRealm)
	c := r.modern(t, cred)
	allocate(t, c)
	raw := c.Build(stunmsg.RefreshRequest, nil)
	var sent stunmsg.Message
	if err := sent.Parse(raw); err != nil {
		t.Fatal(err)
	}
	if _, named := sent.Get(stunmsg.AttrUsername); named || sent.HasIntegrity() || !sent.CheckIntegritySHA256(key) {
		t.Fatal("the client is not one of RFC 8489")
	}
	if got, _ := sent.Get(stunmsg.AttrUserhash); !bytes.Equal(got, hash[:]) {
		t.Fatalf("USERHASH %x", got)
	}
	peer, to := udpPeer(t, "127.0.0.1")
	for what, raw := range map[string][]byte{
		"Refresh": raw,
		"CreatePermission": c.Build(stunmsg.CreatePermissionRequest, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, to)
		}),
		// Errors too: this one has no peer.
		"CreatePermission, 400": c.Build(stunmsg.CreatePermissionRequest, nil),
	} {
		m, code := answered(t, c, raw)
		if code != 0 && !strings.HasSuffix(what, "400") || m.HasIntegrity() || !m.CheckIntegritySHA256(key) {
			t.Errorf("%s: %d, %x", what, code, m.Raw)
		}
	}
	wantCode(t, "channel", c.Bind(within(t), 0x4000, to), 0)
	if err := c.SendChannel(0x4000, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, _, err := peer.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("the peer got %q: %v", buf[:n], err)
	}
	r.clock.add(nonceLife + time.Minute) // the allocation would have ended; the client learns a new nonce all the same
	if _, err := c.Do(within(t), stunmsg.RefreshRequest, nil); turnclient.Code(err) == 401 || turnclient.Code(err) == 438 {
		t.Error(err)
	}

	old := r.client(t, "old", time.Hour)
	allocate(t, old)
	if m, code := answered(t, old, old.Build(stunmsg.RefreshRequest, nil)); code != 0 || !m.HasIntegrity() || len(m.Raw) != 52 {
		t.Errorf("an old client: %d in %d bytes: %x", code, len(m.Raw), m.Raw)
	}
}

// Which key and which integrity a request has, and which its answer: RFC 8489 §9.2.4.
func TestWhichIntegrity(t *testing.T) {
	r := newRig(t, settings(Settings{SHA256: true}))
	cred := r.issue(t, "n", time.Hour)
	md, sha := credential.MD5.Key(cred.Username, rigRealm, cred.Password), credential.SHA256.Key(cred.Username, rigRealm, cred.Password)
	hash := credential.Userhash(cred.Username, rigRealm)
	c := r.modern(t, credential.Credential{})
	first, _ := answered(t, c, say{typ: stunmsg.AllocateRequest, add: udpRelay}.bytes())
	nonce := nonceOf(t, first, bothFeatures)
	wrong := []byte("wrong")
	one := func(a credential.Algorithm) []byte { return []byte{0, byte(a), 0, 0} }
	for name, k := range map[string]struct {
		say
		code int
		key  []byte // of the answer
		with int    // the integrities of the answer: 1 MESSAGE-INTEGRITY, 2 MESSAGE-INTEGRITY-SHA256
	}{
		"neither, SHA-1":                     {say{sha1: md}, 437, md, 1},
		"neither, SHA-256":                   {say{sha2: md}, 437, md, 1},
		"neither, both":                      {say{sha1: md, sha2: md}, 437, md, 1},
		"neither, both, the first is wrong":  {say{sha1: wrong, sha2: md}, 437, md, 1},
		"neither, both, the second is wrong": {say{sha1: md, sha2: wrong}, 401, nil, 0},
		"neither, with a key of SHA-256":     {say{sha2: sha}, 401, nil, 0},
		"MD5, SHA-1":                         {say{all: algorithms, one: one(credential.MD5), sha1: md}, 437, md, 1 | 2},
		"MD5, SHA-256":                       {say{all: algorithms, one: one(credential.MD5), sha2: md}, 437, md, 2},
		"MD5, both":                          {say{all: algorithms, one: one(credential.MD5), sha1: md, sha2: md}, 437, md, 2},
		"SHA-256, SHA-1":                     {say{all: algorithms, one: one(credential.SHA256), sha1: sha}, 437, sha, 1 | 2},
		"SHA-256, SHA-256":                   {say{all: algorithms, one: one(credential.SHA256), sha2: sha}, 437, sha, 2},
		"SHA-256, both":                      {say{all: algorithms, one: one(credential.SHA256), sha1: sha, sha2: sha}, 437, sha, 2},
		"SHA-256, with a key of MD5":         {say{all: algorithms, one: one(credential.SHA256), sha2: md}, 401, nil, 0},
		"MD5, with a key of SHA-256":         {say{all: algorithms, one: one(credential.MD5), sha2: sha}, 401, nil, 0},
	} {
		for _, hashed := range []bool{false, true} {
			q := k.say
			q.typ, q.realm, q.nonce = stunmsg.RefreshRequest, rigRealm, nonce
			if hashed {
				q.hash = hash[:]
			} else {
				q.user = cred.Username
			}
			m, code := answered(t, c, q.bytes())
			_, has := m.IntegritySHA256()
			if code != k.code || has != (k.with&2 != 0) || m.HasIntegrity() != (k.with&1 != 0) {
				t.Errorf("%s, hashed %v: %d, %x", name, hashed, code, m.Raw)
			}
			if has && !m.CheckIntegritySHA256(k.key) || m.HasIntegrity() && !m.CheckIntegrity(k.key) {
				t.Errorf("%s: signed with another key", name)
			}
		}
	}
}

// Every attribute in every wrong length, and every combination that makes no sense, has the RFC's error, which is small, and
// leaves nothing behind.
func TestBadClaims(t *testing.T) {
	r := newRig(t, settings(Settings{SHA256: true}))
	cred := r.issue(t, "n", time.Hour)
	sha := credential.SHA256.Key(cred.Username, rigRealm, cred.Password)
	hash := credential.Userhash(cred.Username, rigRealm)
	c := r.modern(t, credential.Credential{})
	first, _ := answered(t, c, say{typ: stunmsg.AllocateRequest, add: udpRelay}.bytes())
	nonce := nonceOf(t, first, bothFeatures)
	good := func() say {
		return say{
			typ: stunmsg.AllocateRequest, add: udpRelay, hash: hash[:], realm: rigRealm, nonce: nonce, all: algorithms,
			one: []byte{0, 2, 0, 0}, sha2: sha,
		}
	}
	check := func(what string, want int, edit func(*say)) {
		t.Helper()
		q := good()
		edit(&q)
		m, code := answered(t, c, q.bytes())
		_, signed := m.IntegritySHA256()
		if code != want || signed || m.HasIntegrity() || len(m.Raw) > 96 || r.Live() != 0 {
			t.Errorf("%s: %d in %d bytes, want %d; %d live", what, code, len(m.Raw), want, r.Live())
		}
	}
	check("no integrity", 401, func(q *say) { q.sha2 = nil })
	check("no name", 400, func(q *say) { q.hash = nil })
	check("both names", 400, func(q *say) { q.user = cred.Username })
	check("no realm", 400, func(q *say) { q.realm = "" })
	check("another realm", 401, func(q *say) { q.realm = "other" })
	check("no nonce", 400, func(q *say) { q.nonce = nil })
	for n := range 49 {
		if n != 32 {
			check("a hash of another length", 400, func(q *say) { q.hash = append(slices.Clone(hash[:]), make([]byte, 16)...)[:n] })
			check("an integrity of another length", 400, func(q *say) { q.sha2, q.raw2 = nil, make([]byte, n) })
		}
		if n != len(algorithms) {
			check("a list of another length", 400, func(q *say) { q.all = append(slices.Clone(algorithms), make([]byte, 41)...)[:n] })
		}
		if n != 4 {
			check("an algorithm of another length", 400, func(q *say) { q.one = append([]byte{0, 2, 0, 0}, make([]byte, 45)...)[:n] })
		}
		if n != len(nonce) {
			check("a nonce of another length", 438, func(q *say) { q.nonce = append(slices.Clone(nonce), make([]byte, 20)...)[:n]; q.all, q.one = nil, nil })
		}
	}
	check("a list without what was chosen", 400, func(q *say) { q.all = nil })
	check("a list of which nothing was chosen", 400, func(q *say) { q.one = nil })
	check("a list turned round", 400, func(q *say) { q.all = []byte{0, 1, 0, 0, 0, 2, 0, 0} })
	check("a longer list", 400, func(q *say) { q.all = append(slices.Clone(algorithms), 0, 3, 0, 0) })
	check("a list with parameters", 400, func(q *say) { q.all = []byte{0, 2, 0, 4, 1, 2, 3, 4, 0, 1, 0, 0} })
	for a := range 1 << 16 {
		if a < 8 && a != 1 && a != 2 || a == 0x0201 || a == 0xffff {
			check("an algorithm that nobody offered", 400, func(q *say) { q.one = []byte{byte(a >> 8), byte(a), 0, 0} })
		}
	}
	check("an algorithm with parameters", 400, func(q *say) { q.one = []byte{0, 2, 0, 1} })
	check("a wrong integrity", 401, func(q *say) { q.sha2 = []byte("wrong") })
	check("a wrong second integrity", 401, func(q *say) { q.sha1, q.sha2 = sha, []byte("wrong") })
	check("attributes behind the integrity", 400, func(q *say) {
		q.hash = nil
		q.after = func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrUserhash, hash[:]) }
	})
	if m, code := answered(t, c, good().bytes()); code != 0 {
		t.Errorf("the good one: %d, %x", code, m.Raw)
	}
}

// What somebody on the way takes out of a challenge, the server misses.
func TestBidDown(t *testing.T) {
	r := newRig(t, settings(Settings{SHA256: true}))
	cred := r.issue(t, "n", time.Hour)
	md := credential.MD5.Key(cred.Username, rigRealm, cred.Password)
	c := r.modern(t, credential.Credential{})
	first, _ := answered(t, c, say{typ: stunmsg.AllocateRequest, add: udpRelay}.bytes())
	nonce := nonceOf(t, first, bothFeatures)
	for name, k := range map[string]struct {
		nonce    []byte
		all, one []byte
		code     int
	}{
		"without SHA-256 in the list": {nonce, []byte{0, 1, 0, 0}, []byte{0, 1, 0, 0}, 400},
		"without the cookie":          {nonce[cookieLen:], nil, nil, 438},
		"with a cookie of no feature": {slices.Concat([]byte(nonceMark+"AAAA"), nonce[cookieLen:]), nil, nil, 438},
		"with one that asks for names": {
			slices.Concat([]byte(passwordAlgorithms.cookie()), nonce[cookieLen:]), algorithms, []byte{0, 1, 0, 0}, 438,
		},
		"with features that there are not": {slices.Concat([]byte(nonceMark+"4AAA"), nonce[cookieLen:]), nil, nil, 438},
	} {
		m, code := answered(t, c, say{
			typ: stunmsg.AllocateRequest, add: udpRelay, user: cred.Username, realm: rigRealm, nonce: k.nonce, all: k.all, one: k.one, sha1: md,
		}.bytes())
		if code != k.code || r.Live() != 0 {
			t.Errorf("%s: %d, %x", name, code, m.Raw)
		}
		if code == 438 {
			nonceOf(t, m, passwordAlgorithms)
		}
	}
	for f, bits := range map[features]string{passwordAlgorithms: "\x80\x00\x00", bothFeatures: "\xc0\x00\x00"} {
		if f.cookie() != nonceMark+base64.StdEncoding.EncodeToString([]byte(bits)) {
			t.Errorf("features %x are %q", f, f.cookie())
		}
	}
}

// A hash that nobody has, and one whose owner is refused, get the same answer for the same work: one that asks for the name.
// A client whose name another process has issued comes in so, once it has said it.
func TestUserhashOfNobody(t *testing.T) {
	r := newRig(t, settings(Settings{SHA256: true}))
	late, good := r.issue(t, "late", -time.Hour), r.issue(t, "n", time.Hour)
	banned := r.issue(t, "banned", time.Hour)
	r.nodes.set(&r.nodes.banned, "banned", true)
	kept := r.keys.Kept()
	c := r.modern(t, credential.Credential{})
	first, _ := answered(t, c, say{typ: stunmsg.AllocateRequest, add: udpRelay}.bytes())
	nonce := nonceOf(t, first, bothFeatures)
	for name, k := range map[string]struct{ user, password string }{
		"nobody":         {"9999999999:nobody", "x"},
		"wrong password": {good.Username, "x"},
		"expired":        {late.Username, late.Password},
		"banned":         {banned.Username, banned.Password},
	} {
		hash := credential.Userhash(k.user, rigRealm)
		before := r.Stats().Checks
		m, code := answered(t, c, say{
			typ: stunmsg.AllocateRequest, add: udpRelay, hash: hash[:], realm: rigRealm, nonce: nonce, all: algorithms,
			one: []byte{0, 2, 0, 0}, sha2: credential.SHA256.Key(k.user, rigRealm, k.password),
		}.bytes())
		if checks := r.Stats().Checks - before; code != 401 || len(m.Raw) != 88 || checks != uint64(r.keys.Len()) {
			t.Errorf("%s: %d in %d bytes after %d checks", name, code, len(m.Raw), checks)
		}
		nonceOf(t, m, passwordAlgorithms)
	}
	if r.keys.Kept() != kept || r.Live() != 0 {
		t.Error("something is kept")
	}
	elsewhere, err := credential.NewKeyring("a test secret that is long enough", nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := elsewhere.Issue("foreign", time.Hour, r.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	allocate(t, r.modern(t, foreign))
}

// A live allocation goes on when its name's hash has made room for others, and in a fleet names are asked for.
func TestUserhashOutlivesItsTable(t *testing.T) {
	r := newRig(t, settings(Settings{SHA256: true}))
	c := r.modern(t, r.issue(t, "n", time.Hour))
	allocate(t, c)
	first := c.Nonce()
	r.keys.Remember("")
	r.keys.Remember(rigRealm)
	for range 8 { // the nonce gets old on the way
		r.clock.add(9 * time.Minute)
		if _, err := c.Refresh(within(t), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if f, _ := featuresOf(c.Nonce()); f != bothFeatures || bytes.Equal(first, c.Nonce()) || r.keys.Kept() != 0 {
		t.Errorf("at first %q, then %q", first, c.Nonce())
	}

	fleet := newRig(t, func(c *Config, _ *relay.Config) {
		c.Settings.SHA256 = true
		c.Elsewhere = func(string) int { return 0 }
	})
	m, _ := answered(t, fleet.modern(t, credential.Credential{}), say{typ: stunmsg.AllocateRequest, add: udpRelay}.bytes())
	nonceOf(t, m, passwordAlgorithms)
	allocate(t, fleet.modern(t, fleet.issue(t, "n", time.Hour)))
}

// With SHA256 off none of it has a meaning: what was answered how stays so. A reload costs clients one more request.
func TestSHA256Off(t *testing.T) {
	r := newRig(t, settings(Settings{}))
	cred := r.issue(t, "n", time.Hour)
	md, sha := credential.MD5.Key(cred.Username, rigRealm, cred.Password), credential.SHA256.Key(cred.Username, rigRealm, cred.Password)
	hash := credential.Userhash(cred.Username, rigRealm)
	c := r.modern(t, cred)
	first, code := answered(t, c, say{typ: stunmsg.AllocateRequest, add: udpRelay, after: func(w *stunmsg.Builder) { w.Fingerprint() }}.bytes())
	nonce, _ := first.Get(stunmsg.AttrNonce)
	if _, has := first.Get(stunmsg.AttrPasswordAlgorithms); has || code != 401 || len(first.Raw) != 68 || len(nonce) != nonceLen {
		t.Fatalf("%d in %d bytes", code, len(first.Raw))
	}
	if _, ok := r.keys.Named(hash[:]); ok {
		t.Error("names are kept")
	}
	base := say{typ: stunmsg.RefreshRequest, user: cred.Username, realm: rigRealm, nonce: nonce}
	for name, k := range map[string]struct {
		edit func(*say)
		code int
	}{
		"SHA-1":                        {func(q *say) { q.sha1 = md }, 437},
		"both":                         {func(q *say) { q.sha1, q.sha2 = md, md }, 437},
		"both, the second is nonsense": {func(q *say) { q.sha1, q.raw2 = md, []byte("nonsense") }, 437},
		"SHA-256 alone":                {func(q *say) { q.sha2 = md }, 401},
		"SHA-256, and a key of it":     {func(q *say) { q.sha2, q.all, q.one = sha, algorithms, []byte{0, 2, 0, 0} }, 401},
		"a list":                       {func(q *say) { q.sha1, q.all = md, algorithms }, 437},
		"an algorithm":                 {func(q *say) { q.sha1, q.one = md, []byte{0, 1, 0, 0} }, 420},
		"a hash":                       {func(q *say) { q.sha1, q.user, q.hash = md, "", hash[:] }, 400},
		"a hash and a name":            {func(q *say) { q.sha1, q.hash = md, hash[:] }, 420},
		"SHA-256 first": {func(q *say) {
			q.raw2 = make([]byte, 32)
			q.after = func(w *stunmsg.Builder) { w.Integrity(md) }
		}, 420},
	} {
		q := base
		k.edit(&q)
		m, code := answered(t, c, q.bytes())
		if _, has := m.IntegritySHA256(); has || code != k.code || code == 437 && !m.CheckIntegrity(md) {
			t.Errorf("%s: %d, %x", name, code, m.Raw)
		}
	}
	allocate(t, c)
	old := r.client(t, "old", time.Hour)
	allocate(t, old)
	for range 2 {
		for _, on := range []bool{true, false} {
			r.Apply(Settings{SHA256: on, MaxSession: time.Hour})
			for _, c := range []*turnclient.Client{c, old} {
				if _, err := c.Refresh(within(t), time.Minute); err != nil {
					t.Errorf("on %v: %v", on, err)
				}
			}
		}
	}
	if m, code := answered(t, c, say{typ: stunmsg.BindingRequest, raw2: make([]byte, 32)}.bytes()); code != 420 {
		t.Errorf("a Binding: %d, %x", code, m.Raw)
	}
	r.Apply(Settings{SHA256: true})
	if m, code := answered(t, c, say{typ: stunmsg.BindingRequest, raw2: make([]byte, 32)}.bytes()); code != 0 {
		t.Errorf("a Binding, on: %d, %x", code, m.Raw)
	}
}

// A request of a session may say what it has chosen without what it has chosen from: RFC 8489 §9.2.3.2 asks for no more.
func TestSubsequentRequestWithoutTheList(t *testing.T) {
	r := newRig(t, settings(Settings{SHA256: true}))
	cred := r.issue(t, "n", time.Hour)
	md, sha := credential.MD5.Key(cred.Username, rigRealm, cred.Password), credential.SHA256.Key(cred.Username, rigRealm, cred.Password)
	hash := credential.Userhash(cred.Username, rigRealm)
	c := r.modern(t, cred)
	allocate(t, c)
	q := say{typ: stunmsg.RefreshRequest, hash: hash[:], realm: rigRealm, nonce: c.Nonce(), one: []byte{0, 2, 0, 0}, sha2: sha}
	if m, code := answered(t, c, q.bytes()); code != 0 || !m.CheckIntegritySHA256(sha) {
		t.Errorf("%d, %x", code, m.Raw)
	}
	q.one, q.sha2 = []byte{0, 1, 0, 0}, md
	if m, code := answered(t, c, q.bytes()); code != 400 {
		t.Errorf("another algorithm: %d, %x", code, m.Raw)
	}
	// With the list, or as a client of RFC 5389, it may change.
	q.all = algorithms
	if m, code := answered(t, c, q.bytes()); code != 0 || !m.CheckIntegritySHA256(md) {
		t.Errorf("MD5: %d, %x", code, m.Raw)
	}
	q.all, q.one, q.sha1, q.sha2 = nil, nil, md, nil
	for range 2 {
		if m, code := answered(t, c, q.bytes()); code != 0 || !m.CheckIntegrity(md) {
			t.Errorf("neither: %d, %x", code, m.Raw)
		}
	}
	if r.Live() != 1 {
		t.Errorf("%d live", r.Live())
	}
}
