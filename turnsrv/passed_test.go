package turnsrv

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

func passed(t *testing.T, network, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

func withPassed(t *testing.T, listen string, l *net.TCPListener) (*Server, error) {
	t.Helper()
	keys, err := credential.NewKeyring("a test secret that is long enough", nil)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Listen: []string{listen}, Passed: []*net.TCPListener{l}, Transports: []string{"tcp"}, Realm: "crolang", Keys: keys, Nodes: nobody{},
		IPv4: Family{Bind: netip.MustParseAddr("127.0.0.1")}, PortMin: 15000, PortMax: 19999,
		Settings: Settings{Settings: control.Settings{MaxSession: time.Hour}},
	})
}

// A socket that takes both families stands for both wildcards.
func TestPassedSockets(t *testing.T) {
	for listen, l := range map[string]*net.TCPListener{"127.0.0.1": passed(t, "tcp4", "127.0.0.1:0"), "": passed(t, "tcp", ":0")} {
		_, port, _ := net.SplitHostPort(l.Addr().String())
		s, err := withPassed(t, listen+":"+port, l)
		if err != nil {
			t.Fatal(err)
		}
		if want := 1 + strings.Count(l.Addr().String(), "["); len(s.Listeners()) != want {
			t.Errorf("%s: %v, want %d", l.Addr(), s.Listeners(), want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		c, err := turnclient.Dial(within(t), turnclient.Options{Transport: "tcp", Addr: "127.0.0.1:" + port})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Binding(within(t)); err != nil {
			t.Errorf("%s: %v", l.Addr(), err)
		}
		_ = c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestPassedSocketElsewhere(t *testing.T) {
	l := passed(t, "tcp4", "127.0.0.1:0")
	if _, err := withPassed(t, "127.0.0.1:0", l); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("%v", err)
	}
}
