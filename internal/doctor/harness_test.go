package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// patience is long enough for a busy machine; what waits for it to pass runs in parallel.
const patience = 1500 * time.Millisecond

// examine runs the doctor on URLs.
func examine(t *testing.T, cfg Config, targets ...Target) []Finding {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg.Targets = targets
	if cfg.Patience == 0 {
		cfg.Patience = patience
	}
	var out []Finding
	Run(ctx, cfg, func(f Finding) { out = append(out, f) })
	return out
}

// about are the findings of one URL.
func about(all []Finding, url string) (out []Finding) {
	for _, f := range all {
		if f.URL == url {
			out = append(out, f)
		}
	}
	return out
}

// want asks for a finding of a check with a status, and with all the texts in its detail or remedy.
func want(t *testing.T, all []Finding, status Status, check string, texts ...string) {
	t.Helper()
	for _, f := range all {
		if f.Status == status && f.Check == check && !strings.Contains(fmt.Sprintf("%+v", f), "%!") {
			ok := true
			for _, text := range texts {
				ok = ok && strings.Contains(f.Detail+" -> "+f.Remedy, text)
			}
			if ok && (status == OK || f.Remedy != "" || check == "peer") {
				return
			}
		}
	}
	t.Errorf("no finding %s %s %q with a remedy in:\n%s", status, check, texts, text(all))
}

// wantNo asks that nothing is as grave as status.
func wantNo(t *testing.T, all []Finding, status Status) {
	t.Helper()
	for _, f := range all {
		if f.Status == status {
			t.Errorf("%s in:\n%s", status, text(all))
			return
		}
	}
}

func text(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		_ = Print(&b, f, false)
	}
	return b.String()
}

const (
	user     = "alice"
	password = "correct horse battery staple"
	realm    = "example.org"
)

// relays says how the relays of a TURN server of package pion misbehave.
type relays struct {
	dropIn, dropOut bool
	told            string // relayed address that clients are told; empty: the one that it has
	refusePeers     bool
	quota           int // 0: none
}

func (r relays) Validate() error { return nil }

func (r relays) AllocatePacketConn(network string, _ int) (net.PacketConn, net.Addr, error) {
	c, err := net.ListenPacket(network, "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	at := *c.LocalAddr().(*net.UDPAddr)
	if r.told != "" {
		at.IP = net.ParseIP(r.told)
	}
	return faulty{c, r}, &at, nil
}

func (relays) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, fmt.Errorf("not offered")
}

type faulty struct {
	net.PacketConn
	r relays
}

func (f faulty) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := f.PacketConn.ReadFrom(b)
		if err != nil || !f.r.dropIn {
			return n, from, err
		}
	}
}

func (f faulty) WriteTo(b []byte, to net.Addr) (int, error) {
	if f.r.dropOut {
		return len(b), nil
	}
	return f.PacketConn.WriteTo(b, to)
}

// turnServer runs package pion's server on UDP and TCP, or with conf on TLS in place of TCP.
func turnServer(t *testing.T, r relays, conf *tls.Config) (udp, tcp string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, tcp = pc.LocalAddr().String(), l.Addr().String()
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	permit := func(net.Addr, net.IP) bool { return !r.refusePeers }
	var mu sync.Mutex
	used := 0
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: realm, LoggerFactory: quiet(),
		AuthHandler: func(name, realm string, _ net.Addr) ([]byte, bool) {
			if i := strings.LastIndex(name, ":"); i >= 0 {
				return turn.GenerateAuthKey(name, realm, password), name[:i] > fmt.Sprint(time.Now().Unix())
			}
			return turn.GenerateAuthKey(user, realm, password), name == user
		},
		QuotaHandler: func(string, string, net.Addr) bool {
			mu.Lock()
			defer mu.Unlock()
			used++
			return r.quota == 0 || used <= r.quota
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: pc, RelayAddressGenerator: r, PermissionHandler: permit}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: l, RelayAddressGenerator: r, PermissionHandler: permit}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return udp, tcp
}

func quiet() logging.LoggerFactory {
	f := logging.NewDefaultLoggerFactory()
	f.DefaultLogLevel = logging.LogLevelDisabled
	return f
}

// fake answers STUN over UDP as it is told. A method without an answer in codes succeeds as far as that goes.
type fake struct {
	codes    map[stunmsg.Type]int // error codes; -1: no answer
	nonce    string
	relayed  netip.AddrPort
	always   bool // 438 to everything, also what has the nonce
	lifetime uint32
	// alternate is where a 300 sends clients.
	alternate netip.AddrPort
}

func (f fake) serve(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = pc.Close(); <-ended })
	go func() {
		defer close(ended)
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m stunmsg.Message
			if m.Parse(buf[:n]) != nil || !m.Type.IsRequest() {
				continue
			}
			if b := f.answer(&m, from.(*net.UDPAddr).AddrPort()); b != nil {
				_, _ = pc.WriteTo(b, from)
			}
		}
	}()
	return pc.LocalAddr().String()
}

func (f fake) answer(m *stunmsg.Message, from netip.AddrPort) []byte {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	code, given := f.codes[m.Type]
	failed := func(code int) []byte {
		nonce := f.nonce
		if nonce == "" {
			nonce = "abc"
		}
		w := stunmsg.Begin(nil, m.Type.Error(), m.TransactionID()).Attr(stunmsg.AttrErrorCode,
			append([]byte{0, 0, byte(code / 100), byte(code % 100)}, "so it is"...)).
			String(stunmsg.AttrRealm, realm).String(stunmsg.AttrNonce, nonce)
		if code == 300 && f.alternate.IsValid() {
			w.Addr(stunmsg.AttrAlternateServer, f.alternate)
		}
		return w.Bytes()
	}
	ok := stunmsg.Begin(nil, m.Type.Success(), m.TransactionID())
	switch {
	case given && code < 0:
		return nil
	case m.Type == stunmsg.BindingRequest && !given:
		return ok.XORAddr(stunmsg.AttrXORMappedAddress, from).Bytes()
	case m.Type != stunmsg.BindingRequest && !m.HasIntegrity():
		return failed(401)
	case f.always:
		return failed(438)
	case given:
		return failed(code)
	case m.Type == stunmsg.AllocateRequest && f.relayed.IsValid():
		ok.XORAddr(stunmsg.AttrXORRelayedAddress, f.relayed).XORAddr(stunmsg.AttrXORMappedAddress, from)
	}
	return ok.Uint32(stunmsg.AttrLifetime, f.lifetime).Bytes()
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(10000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a server's certificate for the name turn.test; alone: signed by itself.
func (a authority) issue(t *testing.T, from, to time.Time, alone bool, withChain bool) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "turn.test"}, DNSNames: []string{"turn.test"}, NotBefore: from, NotAfter: to,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent, signer := a.cert, a.key
	if alone {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if withChain {
		pair.Certificate = append(pair.Certificate, a.cert.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// at resolves every name to these addresses.
func at(addrs ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range addrs {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

func portOf(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
