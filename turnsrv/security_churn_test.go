package turnsrv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// long says whether tests may take their time.
var long = os.Getenv("CROLANG_AIO_LONG") != ""

// The ways in which a client leaves.
const (
	leaveRefresh = iota // gives its allocation back
	leaveExpiry         // lets it expire, and stays
	leaveClose          // closes its connection, over UDP without a word
	leaveKilled         // is gone without a word, over TCP with a reset
	leaveBan            // is sent away
	leaveWays
)

// churner opens allocations and leaves them.
type churner struct {
	*testServer
	t         *testing.T
	left      [leaveWays]atomic.Int64
	waiting   sync.WaitGroup // clients whose allocations expire
	unrelated *net.UDPConn   // a peer
}

// errAgain says that the kernel has given a client the port of one that left without a word and whose allocation lives, or
// that its credential ended before it came to use it.
var errAgain = errors.New("try again")

// one is one client from its coming to its leaving.
func (c *churner) one(ctx context.Context, node, transport string, way int) error {
	// No allocation outlives its credential here: that is how one ends soon that nobody gives back.
	ttl := time.Hour
	if way == leaveExpiry || transport == "udp" && (way == leaveClose || way == leaveKilled) {
		ttl = 3 * time.Second
	}
	cred, err := c.keys.Issue(node, ttl, time.Now())
	if err != nil {
		return err
	}
	client, err := turnclient.Dial(ctx, turnclient.Options{
		Transport: transport, Addr: c.plain, Username: cred.Username, Password: cred.Password, Timeout: 20 * time.Second, Queue: 4,
	})
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			_ = client.Close()
		}
	}()
	_, err = client.Allocate(ctx, nil)
	if turnclient.Code(err) == 437 && transport == "udp" || turnclient.Code(err) == 401 && ttl < time.Hour {
		return errAgain
	}
	if err != nil {
		return fmt.Errorf("Allocate over %s: %w", transport, err)
	}
	c.left[way].Add(1)
	// With so short a life the allocation may have ended before this.
	if err := client.Bind(ctx, 0x4000, c.unrelated.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil && ttl == time.Hour {
		return fmt.Errorf("ChannelBind over %s: %w", transport, err)
	}
	if err := client.SendChannel(0x4000, []byte("churn")); err != nil {
		return err
	}
	// Answered when what came before has been relayed.
	if _, err := client.Binding(ctx); err != nil {
		return fmt.Errorf("Binding over %s: %w", transport, err)
	}
	switch way {
	case leaveRefresh:
		_, err = client.Refresh(ctx, 0)
	case leaveExpiry:
		keep = true
		c.waiting.Go(func() {
			defer client.Close()
			c.gone(ctx, client)
		})
	case leaveKilled:
		if tcp, ok := client.Conn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	case leaveBan:
		if c.CloseNode(node, "banned by the test") < 1 {
			err = errors.New("CloseNode has found no allocation")
		}
	}
	return err
}

// gone waits until the server knows nothing of the client's allocation any more.
func (c *churner) gone(ctx context.Context, client *turnclient.Client) {
	for {
		select {
		case <-ctx.Done():
			c.t.Error("an allocation of three seconds does not expire")
			return
		case <-time.After(700 * time.Millisecond):
		}
		m, err := client.Do(ctx, stunmsg.CreatePermissionRequest, nil) // 400 while it lives
		if code := turnclient.Code(err); code == 437 || code == 401 {  // the credential has ended too
			return
		}
		if turnclient.Code(err) != 400 {
			c.t.Errorf("asking for an allocation that expires: %v, %v", m, err)
			return
		}
	}
}

// Issue 3's churn: allocations opened and left in every way leave no goroutine, descriptor, port or quota behind.
func TestChurnLeavesNothingBehind(t *testing.T) {
	total := 20_000
	if raceEnabled && !long {
		total = 4_000
	}
	const workers, room = 16, 2000
	s := startServer(t, func(c *Config) {
		c.Settings = Settings{Settings: control.Settings{Allocations: room, StrictExpiry: true}}
		c.IPv6 = Family{}
	})
	sock, _ := listenUDP(t, "127.0.0.1:0") // its queue fills, which is as good as reading
	before := s.traces(t)
	ports := s.plane.FreePorts(4)
	c := &churner{testServer: s, t: t, unrelated: sock}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	begun := time.Now()
	var all sync.WaitGroup
	var next atomic.Int64
	for worker := range workers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(worker)))
			for next.Add(1) <= int64(total) && !t.Failed() {
				transport := "udp"
				switch n := r.IntN(100); {
				case n < 4:
					transport = "dtls"
				case n < 8:
					transport = "tls"
				case n < 30:
					transport = "tcp"
				}
				way := r.IntN(leaveWays)
				// Only over UDP is a client's waiting for its end cheap.
				if transport != "udp" && way == leaveExpiry && r.IntN(4) != 0 {
					way = leaveRefresh
				}
				err := errAgain
				for errors.Is(err, errAgain) {
					err = c.one(ctx, fmt.Sprint("n", worker), transport, way)
				}
				if err != nil {
					t.Errorf("%s, way %d: %v", transport, way, err)
				}
			}
		})
	}
	all.Wait()
	c.waiting.Wait()
	eventually(t, "no allocation is left", func() bool { return s.Live() == 0 })
	st := s.Stats()
	t.Logf("%d allocations in %s: left %v", st.Allocated, time.Since(begun).Round(time.Millisecond), fmt.Sprint(
		c.left[0].Load(), c.left[1].Load(), c.left[2].Load(), c.left[3].Load(), c.left[4].Load()))
	if st.Allocated != st.Ended || st.Allocated < uint64(total) {
		t.Errorf("%d were made, %d ended", st.Allocated, st.Ended)
	}
	if got := s.plane.FreePorts(4); got != ports {
		t.Errorf("%d ports are free, %d were", got, ports)
	}
	s.unharmed(t, before)
	s.quotaIsWhole(t, room)
}

// quotaIsWhole fails the test where not exactly as many allocations can be made as the quota says.
func (s *testServer) quotaIsWhole(t *testing.T, room int) {
	t.Helper()
	set := Settings{Settings: control.Settings{Allocations: 20}}
	s.apply(set) // what leaked would show in a smaller one at once
	for i := range 20 {
		c := s.client(t, "udp", s.plain, "quota")
		if _, err := c.Allocate(within(t), nil); err != nil {
			t.Fatalf("of %d places %d are left of 20: %v", room, i, err)
		}
	}
	wantCode(t, "one more", allocateCode(t, s), 508)
	if n := s.CloseNode("quota", "the test ends"); n != 20 {
		t.Errorf("closed %d of 20", n)
	}
}

// apply makes other settings hold.
func (s *Server) apply(set Settings) {
	next, _ := s.Prepare(set)
	next.Apply()
}
