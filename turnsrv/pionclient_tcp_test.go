package turnsrv

import (
	"net"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
)

// pion's own client allocates a TCP relay, connects from it and accepts on it.
func TestPionClientTCPRelay(t *testing.T) {
	s := startServer(t, offersTCP)
	control := must(net.Dial("tcp4", s.plain))(t)
	conn := turn.NewSTUNConn(control)
	defer conn.Close()
	cred := must(s.keys.Issue("pion", time.Hour, time.Now()))(t)
	client := must(turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: s.plain, TURNServerAddr: s.plain, Conn: conn, Username: cred.Username, Password: cred.Password,
		LoggerFactory: logging.NewDefaultLoggerFactory(),
	}))(t)
	defer client.Close()
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed := must(client.AllocateTCP())(t)

	l, at := tcpPeer(t)
	dialled := patient(t, must(relayed.Dial("tcp", at.String()))(t))
	peer := patient(t, must(l.AcceptTCP())(t))
	if peer.RemoteAddr().String() != relayed.Addr().String() {
		t.Errorf("the peer sees %s, not %s", peer.RemoteAddr(), relayed.Addr())
	}
	says := func(what string, from, to net.Conn) {
		t.Helper()
		if _, err := from.Write([]byte(what)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, err := to.Read(b); err != nil || string(b[:n]) != what {
			t.Fatalf("%q, %v, want %q", b[:n], err, what)
		}
	}
	says("from the client", dialled, peer)
	says("from the peer", peer, dialled)

	if err := client.CreatePermission(peer.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	_ = relayed.SetDeadline(time.Now().Add(20 * time.Second))
	caller := patient(t, must(net.Dial("tcp4", relayed.Addr().String()))(t))
	accepted := patient(t, must(relayed.Accept())(t))
	says("hello", caller, accepted)
	says("hello back", accepted, caller)
	if err := relayed.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the allocation is given back", func() bool { return s.Live() == 0 })
}
