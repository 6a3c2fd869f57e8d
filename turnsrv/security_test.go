package turnsrv

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// What strangers try, case by case, against a running server on loopback. Cases of the process as a whole (A to F, 4,
// 5, 13, 31 to 37 and the flood) are in internal/e2e. Beside the TestCaseNN functions these tests show a case too:
//
//	 1      relay.TestStreamGarbage, stunmsg.TestFrameSize, relay.FuzzStream
//	 2      TestEmptyRecords
//	 3      TestDatagramFlood, TestHalfOpenFlood
//	 4      TestLowOnFiles
//	 5      TestHandshakeDeadline, relay.TestStreamDeadlines
//	 7      TestConnectionsPerAddress, TestAssociationsPerAddress
//	 8      relay.TestStreamBackpressure, relay.TestStreamBacklog
//	 9–12   peers.TestRecommended, peers.FuzzCheck
//	13      TestOwnListenersAreNoPeers, relay.TestOwnListenersAreBarred, control.TestRelayToRelayWhereAllIsDenied
//	14      control.TestPermissionsAreAllOrNone
//	16, 18  control.TestRefusalsTellNothing
//	17      control.TestNonceHoldsForOneSourceAndOneHour, control.TestReplayFromElsewhereIsRefused
//	20      stunmsg.TestAttributesBehindIntegrityAreIgnored
//	21      control.TestAnotherUserOnSomebodysTuple
//	22      control.TestLiveCallOutlastsItsCredential, TestStrictExpiryCutsLiveCalls, TestLifetimesAreCutAndToldTruthfully
//	24      control.TestErrorAnswers
//	26      control.TestSourcesAnswersAreBounded, TestSourcesTableIsFixed
//	27      control.TestQuotasOverManyClientsAtOnce, TestQuotaIsExactUnderConcurrency
//	28      relay.TestAllPortsAreUsed, relay.TestEvenPortsAndReservations
//	30      TestChurnLeavesNothingBehind, and the flood in internal/e2e
//	31      TestStopLeavesNothingBehind, TestStreamShutdown
//	38      TestCase38MutatedMessages, and every Fuzz function below turnsrv

var transports = []string{"udp", "tcp", "tls", "dtls"}

// alive fails the test where a Binding is not answered on every transport and port.
func (s *testServer) alive(t *testing.T) {
	t.Helper()
	for _, addr := range []string{s.plain, s.tls} {
		for _, transport := range transports {
			c, err := turnclient.Dial(within(t), turnclient.Options{Transport: transport, Addr: addr, Timeout: 20 * time.Second})
			if err != nil {
				t.Fatalf("not alive: %v", err)
			}
			got, err := c.Binding(within(t))
			if err != nil || got != c.LocalAddr() {
				t.Errorf("not alive over %s: %v, %v", transport, got, err)
			}
			_ = c.Close()
		}
	}
}

// traces are what a server could leave behind.
type traces struct {
	goroutines, files int
	heap              uint64
}

// openFilesOf counts the descriptors of a process; 0 where the system has no /proc.
func openFilesOf(proc string) int {
	all, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

func tracesNow() traces {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return traces{runtime.NumGoroutine(), openFilesOf("/proc/self"), m.HeapAlloc}
}

// traces is what there is once every transport has been used.
func (s *testServer) traces(t *testing.T) traces {
	t.Helper()
	s.alive(t)
	eventually(t, "the connections of the first look are gone", func() bool { return s.Streams().Open == 0 })
	return tracesNow()
}

// unharmed fails the test where the server is not alive, or does not come back to where it was. Heap of 16 MiB is for
// pools, tables of fixed size and the tests' own.
func (s *testServer) unharmed(t *testing.T, before traces) {
	t.Helper()
	s.alive(t)
	var now traces
	back := func() bool {
		now = tracesNow()
		return s.Streams().Open == 0 && now.goroutines <= before.goroutines && now.files <= before.files &&
			now.heap < before.heap+16<<20
	}
	for end := time.Now().Add(20 * time.Second); !back(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("before %+v, now %+v, %+v\n%s", before, now, s.Streams(), buf[:runtime.Stack(buf, true)])
		}
	}
}

// must is for steps that are no part of what is tested.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// listenUDP is a peer's socket.
func listenUDP(t *testing.T, addr string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	u := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))
	c, err := net.ListenUDP("udp", u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return c, netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// heardNothing fails the test where a socket has got anything. Call it when what follows has been answered.
func heardNothing(t *testing.T, c *net.UDPConn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 100)
	if n, from, err := c.ReadFromUDPAddrPort(buf); err == nil {
		t.Errorf("%s got %q from %s", c.LocalAddr(), buf[:n], from)
	}
}

func wantCode(t *testing.T, what string, err error, code int) {
	t.Helper()
	if got := turnclient.Code(err); got != code || code == 0 && err != nil {
		t.Errorf("%s: %v, want %d", what, err, code)
	}
}

func (s *testServer) allocated(t *testing.T, transport, node string) (*turnclient.Client, turnclient.Allocation) {
	t.Helper()
	c := s.client(t, transport, s.plain, node)
	return c, must(c.Allocate(within(t), nil))(t)
}

func (s *testServer) allocated6(t *testing.T, transport, node string) (*turnclient.Client, turnclient.Allocation) {
	t.Helper()
	c := s.client(t, transport, s.plain, node)
	return c, must(c.Allocate(within(t), func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{stunmsg.FamilyIPv6, 0, 0, 0})
	}))(t)
}

// echoes fails the test where a datagram does not go to a peer and back.
func echoes(t *testing.T, c *turnclient.Client, number uint16, peer *net.UDPConn, text string) {
	t.Helper()
	if err := c.SendChannel(number, []byte(text)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	_ = peer.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, from, err := peer.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != text {
		t.Fatalf("the peer got %q, %v, want %q", buf[:n], err, text)
	}
	if _, err := peer.WriteToUDPAddrPort(buf[:n], from); err != nil {
		t.Fatal(err)
	}
	d, err := c.Receive(within(t))
	if err != nil || string(d.Data) != text {
		t.Fatalf("the client got %+v, %v, want %q", d, err, text)
	}
}
