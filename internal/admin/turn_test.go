package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
)

// turnServer is a real TURN server on loopback, on all transports, whose Nodes are those of an admin listener.
type turnServer struct {
	t *testing.T
	*turnsrv.Server
	keys *credential.Keyring
}

// startTURN runs one until the test ends, and lets bans close its allocations.
func startTURN(t *testing.T, registry *nodes.Registry) *turnServer {
	t.Helper()
	keys, err := credential.NewKeyring(strings.Repeat("k", 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	cfg := turnsrv.Config{
		Listen: []string{"127.0.0.1:0"}, ListenTLS: []string{"127.0.0.1:0"}, Transports: []string{"udp", "tcp", "tls", "dtls"}, Realm: "test",
		IPv4: turnsrv.Family{Bind: loopback, Advertise: loopback}, PortMin: 24000, PortMax: 27999, Certificate: certificate(t),
		Settings: turnsrv.Settings{Settings: control.Settings{MaxSession: time.Hour}}, Keys: keys, Peers: policy, Nodes: registry,
	}
	server, err := turnsrv.New(cfg)
	for range 20 { // the port that is free for UDP may not be for TCP
		if err == nil {
			break
		}
		server, err = turnsrv.New(cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	registry.Attach(turnRelays{server})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &turnServer{t: t, Server: server, keys: keys}
}

func certificate(t *testing.T) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pair := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair, nil }
}

// address is where the server listens for a transport.
func (s *turnServer) address(transport string) string {
	s.t.Helper()
	for _, l := range s.Listeners() {
		if l.Transport == transport {
			return l.Addr.String()
		}
	}
	s.t.Fatalf("nothing listens for %s", transport)
	return ""
}

// credential is a fresh one for a Node.
func (s *turnServer) credential(node string) credential.Credential {
	s.t.Helper()
	c, err := s.keys.Issue(node, time.Hour, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// dial connects a client for a Node; it is closed at the test's end, where it is still open.
func (s *turnServer) dial(transport, node string) *turnclient.Client {
	s.t.Helper()
	cred := s.credential(node)
	c, err := turnclient.Dial(s.t.Context(), turnclient.Options{
		Transport: transport, Addr: s.address(transport), Username: cred.Username, Password: cred.Password, Timeout: 30 * time.Second,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// turnRelays shows the TURN server to the registry and to the admin API.
type turnRelays struct{ server *turnsrv.Server }

func (r turnRelays) CloseNode(node, cause string) int { return r.server.CloseNode(node, cause) }
func (r turnRelays) CloseAllocation(id, cause string) bool {
	return r.server.CloseAllocation(id, cause)
}

func (r turnRelays) Toward(string, []netip.Addr) []adminapi.Allocation { return nil }

func (r turnRelays) Allocations() []adminapi.Allocation {
	list := []adminapi.Allocation{}
	for _, a := range r.server.Allocations() {
		list = append(list, adminapi.Allocation{
			ID: a.ID, Node: a.Node, Transport: a.Transport, Client: a.Client, Relayed: a.Relayed, Created: a.Created, Expires: a.Expires,
			BytesIn: a.Stats.Up.Bytes, BytesOut: a.Stats.Down.Bytes,
		})
	}
	return list
}

func (r turnRelays) LiveByNode() map[string]int { return liveByNode(r.Allocations()) }
