package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const testSecret = "a test secret that is long enough"

// rig is a TURN server of this repository in the test's process.
type rig struct {
	*turnsrv.Server
	plain string // for UDP, TCP and TLS alike
}

func start(t *testing.T, allow ...string) *rig {
	t.Helper()
	keys, err := credential.NewKeyring(testSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := nodes.New(nodes.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := turnsrv.Config{
		Listen: []string{"127.0.0.1:0"}, Transports: []string{"udp", "tcp", "tls"}, Realm: "crolang",
		IPv4: turnsrv.Family{Bind: netip.MustParseAddr("127.0.0.1")}, PortMin: 20000, PortMax: 29999,
		Settings: turnsrv.Settings{Settings: control.Settings{MaxSession: time.Hour}}, Keys: keys, Peers: policy, Nodes: registry,
		Certificate: certificate(t),
	}
	s, err := turnsrv.New(cfg)
	for try := 0; err != nil && try < 10; try++ { // the UDP port that it is given may be taken for TCP
		s, err = turnsrv.New(cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &rig{s, s.Listeners()[0].Addr.String()}
}

func certificate(t *testing.T) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
}

// gone waits until the server has no allocation left.
func (r *rig) gone(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); r.Live() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d allocations are left", r.Live())
		}
	}
}

func (r *rig) config(transport, direction string) Config {
	return Config{
		Server: r.plain, Transport: transport, Secret: testSecret, Direction: direction, Clients: 3, Size: 101, Rate: 1500,
		Warmup: 50 * time.Millisecond, Duration: 300 * time.Millisecond,
	}
}

func TestTraffic(t *testing.T) {
	r := start(t, "127.0.0.1")
	for _, transport := range []string{"udp", "tcp", "tls"} {
		for _, direction := range []string{Up, Down, Echo} {
			t.Run(transport+" "+direction, func(t *testing.T) {
				c := r.config(transport, direction)
				res, err := Run(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if res.Delivered == 0 || res.Loss > 0.2 || // some come too late where the machine is busy
					res.SentPPS == 0 || res.Reordered > 0 || res.SendErrors > 0 {
					t.Errorf("%+v", res)
				}
				if l := res.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
					t.Errorf("latency %+v", l)
				}
				r.gone(t)
			})
		}
	}
}

func TestHosts(t *testing.T) {
	r := start(t, "127.0.0.0/8")
	for _, direction := range []string{Up, Down, Echo, Setup} {
		t.Run(direction, func(t *testing.T) {
			c := r.config("udp", direction)
			c.Hosts, c.Clients, c.Senders, c.Dialers = netip.MustParsePrefix("127.1.0.0/24"), 12, 3, 4
			if runtime.GOOS != "linux" {
				t.Skip("only Linux has all addresses of 127.0.0.0/8")
			}
			res, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if direction != Setup && (res.Delivered == 0 || res.Loss > 0.2 || res.SentPPS == 0 || res.Reordered > 0 || res.SendErrors > 0) {
				t.Errorf("%+v", res)
			}
			r.gone(t)
		})
	}
}

func TestAsFastAsPossible(t *testing.T) {
	r := start(t, "127.0.0.1")
	for _, transport := range []string{"udp", "tcp"} {
		c := r.config(transport, Up)
		c.Rate, c.Clients, c.Duration = 0, 1, 100*time.Millisecond
		res, err := Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if res.DeliveredPPS == 0 || res.Loss < 0 || res.Loss > 1 {
			t.Errorf("%+v", res)
		}
		r.gone(t)
	}
}

func TestSetup(t *testing.T) {
	r := start(t, "127.0.0.1")
	c := r.config("udp", Setup)
	c.Clients, c.Dialers, c.Duration = 40, 4, 0
	if runtime.GOOS == "linux" {
		c.PID = os.Getpid()
	}
	res, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if res.Setup.PerSecond <= 0 || res.Setup.Took.P50 <= 0 || res.Seconds != 0 {
		t.Errorf("%+v", res)
	}
	if c.PID != 0 && (res.Process == nil || res.Process.RSS <= 0) {
		t.Errorf("process %+v", res.Process)
	}
	r.gone(t)
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	r := start(t)
	nowhere, err := freeports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		code       int
		edit       func(*Config)
	}{
		{"peer", "denies peers at 127.0.0.1, see turn.peers.allow", 403, func(*Config) {}},
		{"peer over TCP", "denies peers at 127.0.0.1, see turn.peers.allow", 403, func(c *Config) { c.Transport = "tcp" }},
		{"secret", "the credential does not fit", 401, func(c *Config) { c.Secret = "another" }},
		{"password", "the credential does not fit", 401, func(c *Config) {
			c.Secret, c.Username, c.Password = "", "9999999999:me", "wrong"
		}},
		{"nobody over UDP", "nothing listens for udp at " + nowhere, 0, func(c *Config) { c.Server = nowhere }},
		{"nobody over TCP", nowhere, 0, func(c *Config) { c.Server, c.Transport = nowhere, "tcp" }},
		{"addresses", "ip route add local 203.0.113.0/24 dev", 0, func(c *Config) { c.Hosts = netip.MustParsePrefix("203.0.113.0/24") }},
		{"process", "reading the CPU time of process 999999999", 0, func(c *Config) { c.PID = 999999999 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := r.config("udp", Up)
			test.edit(&c)
			res, err := Run(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), test.want) || turnclient.Code(err) != test.code {
				t.Errorf("%+v, %v; want %q", res, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), testSecret) {
				t.Errorf("the secret is in %q", err)
			}
		})
	}
	r.gone(t)
}

func TestCancelled(t *testing.T) {
	r := start(t, "127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	c := r.config("udp", Echo)
	c.Duration = time.Hour
	c.Progress = func(s string) {
		if strings.Contains(s, "measuring") {
			cancel()
		}
	}
	if _, err := Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v where it had ended before", err)
	}
	r.gone(t)
}

func TestRefreshesAreAnsweredAndStaleNoncesReplaced(t *testing.T) {
	s := start(t, "127.0.0.1")
	r := &run{Config: s.config("udp", Up), origin: time.Now()}
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := r.dial(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer release([]*client{c})
	answers := func(want ...stunmsg.Type) {
		t.Helper()
		if err := c.refresh(); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		for _, w := range want {
			b := make([]byte, minBuffer)
			n, err := c.conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			var m stunmsg.Message
			if err := m.Parse(b[:n]); err != nil || m.Type != w {
				t.Fatalf("%v with type %#x, want %#x", err, uint16(m.Type), uint16(w))
			}
			c.heard(b[:n])
		}
	}
	good := []stunmsg.Type{stunmsg.RefreshRequest.Success(), stunmsg.ChannelBindRequest.Success()}
	answers(good...)
	c.nonce = []byte("stale")
	answers(stunmsg.RefreshRequest.Error(), stunmsg.ChannelBindRequest.Error())
	answers(good...)
	c.heard([]byte("nothing that is STUN"))
}

func TestValidate(t *testing.T) {
	good := Config{Server: "h:1", Transport: "udp", Secret: "s", Direction: Up, Clients: 1, Size: 100, Duration: time.Second}
	if err := good.Validate(); err != nil || good.Batch == 0 || good.Dialers == 0 || good.Progress == nil {
		t.Errorf("%+v, %v", good, err)
	}
	for want, edit := range map[string]func(*Config){
		"server \"h\"":          func(c *Config) { c.Server = "h" },
		"transport \"sctp\"":    func(c *Config) { c.Transport = "sctp" },
		"direction \"\"":        func(c *Config) { c.Direction = "" },
		"neither a secret":      func(c *Config) { c.Secret = "" },
		"clients 0":             func(c *Config) { c.Clients = 0 },
		"clients 10001":         func(c *Config) { c.Clients = MaxClients + 1 },
		"size 15":               func(c *Config) { c.Size = MinSize - 1 },
		"rate -1":               func(c *Config) { c.Rate = -1 },
		"batch 9999":            func(c *Config) { c.Batch = 9999 },
		"dialers 257":           func(c *Config) { c.Dialers = 257 },
		"durations are 0 to":    func(c *Config) { c.Warmup = 2 * time.Hour },
		"measurement of 0s":     func(c *Config) { c.Duration = 0 },
		"peer \"x\" is no addr": func(c *Config) { c.Peer = "x" },
		"hosts 10.0.0.0/31":     func(c *Config) { c.Hosts, c.Clients = netip.MustParsePrefix("10.0.0.0/31"), 2 },
		"hosts 10.0.0.0/8":      func(c *Config) { c.Hosts, c.Peer = netip.MustParsePrefix("10.0.0.0/8"), "10.0.0.1" },
		"hosts 10.1.0.0/16":     func(c *Config) { c.Hosts, c.Transport = netip.MustParsePrefix("10.1.0.0/16"), "tcp" },
		"hosts ::/64":           func(c *Config) { c.Hosts = netip.MustParsePrefix("::/64") },
	} {
		c := good
		edit(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	c := good
	c.Server, c.Clients, c.Batch = "", -1, -1
	if err := c.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not every mistake at once: %v", err)
	}
}
