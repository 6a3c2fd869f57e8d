package admin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// TestBanCutsRelays bans a Node in the middle of traffic both ways, on each transport: no datagram may arrive at either end
// later than 100 ms after the answer.
func TestBanCutsRelays(t *testing.T) {
	s := serve(t, "", nil)
	server := startTURN(t, s.registry)
	operator, err := adminapi.NewClient(s.url, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		t.Run(transport, func(t *testing.T) {
			node := "Node over " + transport
			client := server.dial(transport, node)
			peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			at := netip.MustParseAddrPort(peer.LocalAddr().String())
			a, err := client.Allocate(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Bind(t.Context(), 0x4000, at); err != nil {
				t.Fatal(err)
			}

			var toPeer, toClient atomic.Int64 // when the last datagram arrived, Unix nanoseconds
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { // both ends send all the time
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						_ = client.SendChannel(0x4000, []byte("up")) // fails once the server has closed the connection
						_, _ = peer.WriteToUDPAddrPort([]byte("down"), a.Relayed)
					}
				}
			})
			wg.Go(func() {
				buf := make([]byte, 100)
				for {
					if _, _, err := peer.ReadFromUDPAddrPort(buf); errors.Is(err, net.ErrClosed) {
						return
					} else if err == nil {
						toPeer.Store(time.Now().UnixNano())
					}
				}
			})
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-client.Data():
						toClient.Store(time.Now().UnixNano())
					}
				}
			})
			for deadline := time.Now().Add(10 * time.Second); toPeer.Load() == 0 || toClient.Load() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing is relayed before the ban")
				}
			}
			answer, err := operator.Ban(t.Context(), adminapi.BanRequest{Node: node, Reason: "in the middle"})
			late := time.Now().Add(100 * time.Millisecond)
			if err != nil || answer.Closed != 1 {
				t.Errorf("answer %+v %v", answer, err)
			}
			time.Sleep(time.Until(late.Add(300 * time.Millisecond)))
			if up, down := toPeer.Load(), toClient.Load(); up > late.UnixNano() || down > late.UnixNano() {
				t.Errorf("relayed after the ban: to the peer until %v later, to the client until %v later",
					time.Unix(0, up).Sub(late), time.Unix(0, down).Sub(late))
			}
			close(stop)
			_ = peer.Close()
			wg.Wait()
			if _, err := server.dial(transport, node).Allocate(t.Context(), nil); turnclient.Code(err) != 401 {
				t.Errorf("allocated by a banned Node: %v", err)
			}
			if n, err := operator.Node(t.Context(), node); err != nil || !n.Banned || len(n.Allocations) != 0 || len(n.Events) < 3 {
				t.Errorf("record %+v %v", n, err)
			}
		})
	}
	if left := server.Allocations(); len(left) != 0 {
		t.Errorf("%d allocations left over", len(left))
	}
}

// TestThousandBansAgainstThousandClients bans 1 000 Nodes while all of them allocate as fast as they can. Once the answers are
// there, not one may have a relay; once the bans are lifted, each may have one again.
func TestThousandBansAgainstThousandClients(t *testing.T) {
	const all, workers = 1000, 50
	s := serve(t, "", nil)
	server := startTURN(t, s.registry)
	operator, err := adminapi.NewClient(s.url, "")
	if err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprint("n", i) }
	each := func(f func(i int)) {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := w; i < all; i += workers {
					f(i)
				}
			})
		}
		wg.Wait()
	}
	clients := make([]*turnclient.Client, all)
	each(func(i int) {
		clients[i] = server.dial("udp", name(i))
		if _, err := clients[i].Allocate(t.Context(), nil); err != nil {
			t.Errorf("%s before its ban: %v", name(i), err)
		}
	})
	if n := len(server.Allocations()); n != all {
		t.Fatalf("%d allocations of %d", n, all)
	}

	stop := make(chan struct{})
	var allocating sync.WaitGroup
	for w := range 8 { // they go on allocating, each time over a new 5-tuple
		allocating.Go(func() {
			for i := w; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				cred := server.credential(name(i % all))
				c, err := turnclient.Dial(t.Context(), turnclient.Options{
					Transport: "udp", Addr: server.address("udp"), Username: cred.Username, Password: cred.Password, Timeout: 30 * time.Second,
				})
				if err != nil {
					t.Error(err)
					return
				}
				// 401: banned. 437: the kernel gave a port again whose allocation still lives.
				if _, err := c.Allocate(t.Context(), nil); err != nil && turnclient.Code(err) != 401 && turnclient.Code(err) != 437 {
					t.Errorf("%s: %v", name(i%all), err)
				}
				_ = c.Close() // on UDP the allocation stays
			}
		})
	}
	each(func(i int) {
		if a, err := operator.Ban(t.Context(), adminapi.BanRequest{Node: name(i)}); err != nil || a.Closed < 1 {
			t.Errorf("ban of %s: %+v %v", name(i), a, err)
		}
	})
	close(stop)
	allocating.Wait()
	if left := server.Allocations(); len(left) != 0 {
		t.Errorf("%d allocations of banned Nodes are left over, the first %+v", len(left), left[0])
	}
	each(func(i int) {
		if err := operator.Unban(t.Context(), name(i)); err != nil {
			t.Errorf("unban of %s: %v", name(i), err)
		}
	})
	each(func(i int) {
		if _, err := clients[i].Allocate(t.Context(), nil); err != nil {
			t.Errorf("%s after its ban: %v", name(i), err)
		}
	})
	if n, bans := len(server.Allocations()), len(s.registry.Bans()); n != all || bans != 0 {
		t.Errorf("%d allocations of %d, %d bans", n, all, bans)
	}
}

// TestBanOfAnotherSpelling bans, looks up and lifts by a spelling that is not the canonical one.
func TestBanOfAnotherSpelling(t *testing.T) {
	s := serve(t, "", nil)
	s.relays.list = append(s.relays.list, allocation("1", "Zo\u00eb"))
	s.want("POST", "/api/bans", `{"node":"Zoe\u0308"}`, 201, `{"node":"Zoë","closed":1,"kept":true}`)
	if !s.registry.Banned("Zo\u00eb") {
		t.Error("the Node is not banned")
	}
	for _, path := range []string{"/api/nodes/Zoe%CC%88", "/api/node?id=Zoe%CC%88"} {
		if status, _, body := s.do("GET", path, ""); status != 200 || !strings.Contains(body, `"banned":true`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	s.want("DELETE", "/api/bans/Zoe%CC%88", "", 204, "")
	if s.registry.Banned("Zo\u00eb") {
		t.Error("the ban was not lifted")
	}
}
