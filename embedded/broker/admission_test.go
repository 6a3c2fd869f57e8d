package broker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/places"
)

const taken44 = `44{"message":"client already connected"}`

// Whatever failed is 503 before the 101: after that a Node tries again, and after 44 never.
func TestTryAgain(t *testing.T) {
	r := start(t, nil)
	fail := make(chan string, 1)
	r.decider.authenticate = func(_ context.Context, j Join) Admission {
		if j.Node == "auth" {
			return Admission{Verdict: Verdict{Failed, "upstream is away"}}
		}
		return Admission{Verdict{Allowed, ""}, true}
	}
	r.decider.configure = func(_ context.Context, node string) ([]byte, Verdict) {
		switch node {
		case "config":
			return nil, Verdict{Failed, "no server"}
		case "broken":
			return []byte("{"), Verdict{Allowed, ""}
		case "banned":
			return nil, Verdict{Refused, "banned by the operator"}
		case "none":
			return nil, Verdict{Allowed, ""}
		}
		return []byte(rtc), Verdict{Allowed, ""}
	}
	close(fail)
	for _, id := range []string{"auth", "config", "broken"} {
		for range 2 { // its id is free again
			if w := r.rawDial(nodeQuery(id)); w.head.StatusCode != 503 {
				t.Errorf("%s: %d", id, w.head.StatusCode)
			}
		}
	}
	w := r.dial(nodeQuery("banned"))
	w.write("40")
	w.want(`44{"message":"authentication failed"}`)
	w = r.dial(nodeQuery("none"))
	w.write("40")
	if m := w.read(); !strings.HasPrefix(m, "40{") {
		t.Error(m)
	}
	w.want(`42["AUTHENTICATED",null]`)
	// A CONNECT on a connection that has been one before can only be told by the end of TCP, without a close frame.
	w = r.join("again")
	w.write("41")
	r.events.await(t, func(e Event) bool { return e.Kind == Left && e.Node == "again" })
	r.decider.configure = func(context.Context, string) ([]byte, Verdict) { return nil, Verdict{Failed, "no server"} }
	w.write("40")
	w.want("end")
	r.b.Drain()
	if w := r.rawDial(nodeQuery("late")); w.head.StatusCode != 503 {
		t.Errorf("while draining: %d", w.head.StatusCode)
	}
}

// An id is free again when its Node left in the middle of joining.
func TestLeavingWhileJoining(t *testing.T) {
	r := start(t, nil)
	asked := make(chan struct{}, 1)
	r.decider.configure = func(ctx context.Context, _ string) ([]byte, Verdict) {
		asked <- struct{}{}
		<-ctx.Done() // ends as the client leaves
		return nil, Verdict{Failed, "gone"}
	}
	nc, err := net.Dial("tcp", r.b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(nc, "GET /socket.io/?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", nodeQuery("Alice"))
	<-asked
	// While it joins, nobody can say whether the id will be taken.
	if w := r.rawDial(nodeQuery("Alice")); w.head.StatusCode != 503 {
		t.Errorf("a second one meanwhile: %d", w.head.StatusCode)
	}
	nc.Close()
	r.events.await(t, func(e Event) bool { return e.Kind == JoinFailed && e.Cause == "it left while it joined" })
	r.decider.configure = nil
	eventually(t, "the id is free", func() bool {
		w := r.rawDial(nodeQuery("Alice"))
		defer w.nc.Close()
		return w.head.StatusCode == 101
	})
}

func TestSameID(t *testing.T) {
	r := start(t, func(c *Config) { c.timing.ask = 300 * time.Millisecond })
	alive := r.join("Alice")
	go func() { // answers pings
		for {
			f, err := readFrame(alive.in)
			if err != nil {
				return
			}
			if string(f.Payload) == "2" {
				alive.write("3")
			}
		}
	}()
	w := r.dial(nodeQuery("Alice"))
	w.write("40")
	w.want(taken44)

	silent := r.join("Bob")
	w = r.dial(nodeQuery("Bob"))
	w.joined()
	if m := silent.readAny(); m != "2" && m != "end" {
		t.Errorf("the older connection got %q", m)
	}
	silent.over()
	w.write(payload(1, askConnected, `{"ids":["Bob"]}`))
	w.want(`431["{\"results\":[{\"id\":\"Bob\",\"connected\":true}]}"]`)
	if s := r.b.Stats(); s.TakenOver != 1 || s.Taken != 1 || s.Nodes != 2 {
		t.Errorf("%+v", s)
	}
	// One that has closed TCP gives way at once, whoever asks.
	r.decider.authenticate = func(context.Context, Join) Admission { return Admission{Verdict{Allowed, ""}, false} }
	w.nc.Close()
	w = r.dial(nodeQuery("Bob"))
	w.joined()

	next, err := r.b.Prepare(Settings{SameID: Refuse})
	if err != nil {
		t.Fatal(err)
	}
	next.Apply()
	late := r.dial(nodeQuery("Bob"))
	late.write("40")
	late.want(taken44)
}

// Where nothing is proven, only a newcomer from the same address may take over.
func TestSameIDFromAnotherAddress(t *testing.T) {
	proxy := netip.MustParsePrefix("127.0.0.1/32")
	r := start(t, func(c *Config) {
		c.timing.ask = 100 * time.Millisecond
		c.Settings.TrustedProxies = []netip.Prefix{proxy}
	})
	r.decider.authenticate = func(context.Context, Join) Admission { return Admission{Verdict{Allowed, ""}, false} }
	r.dial(nodeQuery("Alice"), "X-Forwarded-For: 10.1.1.1, 192.0.2.1").joined()
	if n, ok := r.b.Node("Alice"); !ok || n.From.String() != "192.0.2.1" {
		t.Errorf("%+v", n)
	}
	w := r.dial(nodeQuery("Alice"), "X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.0.0.1")
	w.write("40")
	w.want(taken44)
	r.dial(nodeQuery("Alice"), "X-Forwarded-For: 192.0.2.1").joined()
	w = r.dial(nodeQuery("Bob"), "X-Forwarded-For: nonsense")
	w.joined()
	if n, _ := r.b.Node("Bob"); n.From.String() != "127.0.0.1" {
		t.Errorf("%+v", n)
	}
}

// Bytes that the Broker has not read yet are a sign of life too.
func TestUnreadBytesAreLife(t *testing.T) {
	r := start(t, func(c *Config) { c.timing.ask = time.Second })
	asked, answer := make(chan struct{}), make(chan struct{})
	r.decider.authorize = func(context.Context, string, string) Verdict {
		asked <- struct{}{}
		<-answer
		return Verdict{Allowed, ""}
	}
	alice := r.join("Alice")
	alice.write(payload(1, "CONNECTION_ATTEMPT", `{"to":"Bob"}`))
	<-asked // from now on the Broker reads nothing of Alice
	go func() {
		for f, err := readFrame(alive(alice)); err == nil; f, err = readFrame(alice.in) {
			if string(f.Payload) == "2" {
				alice.write("3")
			}
		}
	}()
	w := r.dial(nodeQuery("Alice"))
	w.write("40")
	w.want(taken44)
	close(answer)
}

// heldAtLeaving holds up the Broker while it tells that a Node has left.
type heldAtLeaving struct {
	Observer
	leaving, on chan struct{}
}

func (h heldAtLeaving) Observe(e Event) {
	if e.Kind == Left {
		select {
		case h.leaving <- struct{}{}:
			<-h.on
		default:
		}
	}
	h.Observer.Observe(e)
}

// A Node that leaves and joins again at once gets its id, though more comes from the connection that it left.
func TestLeavingAndJoiningAtOnce(t *testing.T) {
	for _, sameID := range []SameID{Ask, Refuse} {
		held := heldAtLeaving{leaving: make(chan struct{}), on: make(chan struct{})}
		r := start(t, func(c *Config) {
			c.Settings.SameID = sameID
			held.Observer, c.Observer = c.Observer, &held
		})
		alice := r.join("Alice")
		alice.write("41")
		<-held.leaving // the goodbye is being handled
		alice.write("3")
		time.AfterFunc(100*time.Millisecond, func() { close(held.on) }) // by then the newcomer waits, most likely
		r.dial(nodeQuery("Alice")).joined()
	}
}

func alive(w *wire) interface{ Read([]byte) (int, error) } { return w.in }

func TestBanEndsTheConnectionAtOnce(t *testing.T) {
	r := start(t, nil)
	alice, bob := r.join("Alice"), r.join("Bob")
	if !r.b.Disconnect("Alice", "banned by the operator") || r.b.Disconnect("Carol", "") {
		t.Error("Disconnect")
	}
	if len(r.b.Nodes()) != 1 {
		t.Errorf("%+v", r.b.Nodes())
	}
	alice.write(payload(1, "SOCKET_MSG_EXCHANGE", `{"to":"Bob"}`)) // comes too late
	alice.want("41", "close 1005")
	alice.over()
	bob.write(payload(2, "SOCKET_MSG_EXCHANGE", `{"to":"Alice"}`))
	bob.want(`432["NOT_CONNECTED"]`)
	if e := r.events.await(t, func(e Event) bool { return e.Kind == Left }); e.Node != "Alice" || e.Cause != "banned by the operator" {
		t.Errorf("%+v", e)
	}
	if r.b.Disconnect("Alice", "") {
		t.Error("still there")
	}
}

func TestStatusCheck(t *testing.T) {
	asked := make(chan []string, 1)
	r := start(t, func(c *Config) { c.StatusInterval, c.LockTTL = 20*time.Millisecond, time.Second })
	r.decider.invalid = func(nodes []string, name func(node, cause string)) {
		select {
		case asked <- nodes:
		default:
		}
		name("Alice", "not valid any more")
		name("nobody", "")
	}
	alice := r.join("Alice")
	alice.want("41", "close 1005")
	if got := <-asked; len(got) != 1 || got[0] != "Alice" {
		t.Errorf("%q", got)
	}
}

func TestTimers(t *testing.T) {
	r := start(t, func(c *Config) {
		c.timing.tick, c.timing.pingInterval, c.timing.pingTimeout, c.timing.join = 2*time.Millisecond, 50*time.Millisecond, 400*time.Millisecond, 900*time.Millisecond
	})
	stranger := r.dial(nodeQuery("Stranger"))
	alice := r.join("Alice")
	for range 5 {
		if m := alice.readAny(); m != "2" {
			t.Fatalf("got %q in place of a ping", m)
		}
		alice.write("3")
	}
	if m := alice.readAny(); m != "2" {
		t.Fatalf("got %q", m)
	}
	if n, ok := r.b.Node("Alice"); !ok || n.RoundTrip <= 0 || n.RoundTrip > time.Minute { // known before the next ping
		t.Errorf("%v, round trip %s", ok, n.RoundTrip)
	}
	alice.write("6") // no pong
	alice.want("41", "close 1005")
	stranger.want("close 1005")
	stranger.over()
	r.events.await(t, func(e Event) bool { return e.Kind == Left && e.Cause == "it did not answer a ping" })
}

func TestStop(t *testing.T) {
	r := start(t, nil)
	alice := r.join("Alice")
	stranger := r.dial(nodeQuery("Bob"))
	go r.stop()
	alice.want("41", "close 1005")
	alice.over()
	stranger.want("close 1005")
	stranger.over()
	r.stop()
}

// A Node that does not read costs what it may, and is let go when it has taken nothing for a while; who sends to it is not
// held up.
func TestNodeThatDoesNotRead(t *testing.T) {
	r := start(t, func(c *Config) {
		c.Settings.Limits = Limits{WaitingBytes: 2_000_000, MessagesPerSecond: 1_000_000}
		c.timing.tick, c.timing.pingInterval, c.timing.stall = 2*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond
	})
	deaf, alice := r.join("Deaf"), r.join("Alice")
	_ = deaf.nc.(*net.TCPConn).SetReadBuffer(4096)
	inner := `{"to":"Deaf","x":"` + strings.Repeat("x", 500_000) + `"}`
	for i := 0; ; i++ {
		alice.write(payload(i, "SOCKET_MSG_EXCHANGE", inner))
		m := alice.read()
		if m == fmt.Sprintf(`43%d["NOT_CONNECTED"]`, i) {
			break
		}
		if i > 100 {
			t.Fatalf("after %d messages still %s", i, m)
		}
	}
	r.events.await(t, func(e Event) bool {
		return e.Kind == Left && e.Node == "Deaf" && e.Cause == "it did not read what it was sent"
	})
	if s := r.b.Stats(); s.Unread != 1 || s.Behind == 0 {
		t.Errorf("%+v", s)
	}
}

func TestSlowedDownIsNotDead(t *testing.T) {
	r := start(t, func(c *Config) {
		c.Settings.Limits.MessagesPerSecond = 50
		c.timing.tick, c.timing.pingInterval, c.timing.pingTimeout = 2*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	})
	alice := r.join("Alice")
	const n = 100 // 50 at once, and the rest in a second: three ping timeouts
	began := time.Now()
	for range n - 1 {
		alice.write("6")
	}
	alice.write(payload(n, askConnected, `{"ids":[]}`))
	pings := 0
	for m := alice.readAny(); ; m = alice.readAny() {
		if m == "2" {
			pings++
			alice.write("3")
			continue
		}
		if m != `43100["{\"results\":[]}"]` {
			t.Fatalf("%q", m)
		}
		break
	}
	if took := time.Since(began); took < 900*time.Millisecond || pings == 0 {
		t.Errorf("took %v, %d pings", took, pings)
	}
	if r.b.Stats().SlowedDown == 0 {
		t.Error("nothing was slowed down")
	}
}

// clock is a time that the places go by, which a test moves on.
func (r *rig) clock() (pass func(time.Duration)) {
	var late atomic.Int64
	r.b.places.Clock(func() time.Time { return time.Now().Add(time.Duration(late.Load())) })
	return func(d time.Duration) { late.Add(int64(d)) }
}

func (r *rig) cutOff() {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.b.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := nc.Read(make([]byte, 1)); err == nil || n > 0 {
		r.t.Error("a connection beyond all places is served")
	}
}

// One source has its places and no more: those of it that have not joined give way when they have had their time, those
// that have joined never do, and who has left by 41 counts as a stranger again.
func TestPlacesOfASource(t *testing.T) {
	r := start(t, func(c *Config) { c.Settings.Limits.ConnectionsPerIP = 2 })
	pass := r.clock()
	r.join("Alice")
	stranger := r.dial(nodeQuery("Bob"))
	r.cutOff() // Bob may still join
	pass(places.Grace)
	carol := r.join("Carol") // takes Bob's place
	stranger.want("end")
	pass(places.Grace)
	r.cutOff()
	carol.write("41")
	r.events.await(t, func(e Event) bool { return e.Kind == Left && e.Node == "Carol" })
	pass(places.Grace)
	r.join("Dave")
	carol.want("end")
	if s := r.b.Stats(); s.OverShare != 2 || s.Displaced != 2 || s.Connections != 2 {
		t.Errorf("%+v", s)
	}
}

// A crowd of one address takes nobody else's place: a new source is let in, a Node that has joined stays, and only where
// every place is one that has joined is nobody let in. Sources are as a trusted proxy names them.
func TestPlacesOfACrowd(t *testing.T) {
	r := start(t, func(c *Config) {
		c.Settings.Limits.Connections = 24
		c.Settings.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	from := func(node, addr string) *wire { return r.rawDial(nodeQuery(node), "X-Forwarded-For: "+addr) }
	joined := from("Alice", "192.0.2.1")
	joined.readAny() // 0{…}
	joined.joined()
	var crowd []*wire
	for i := range 23 {
		w := from("x"+strconv.Itoa(i), "203.0.113."+strconv.Itoa(i/3)) // an eighth of all each
		if w.head.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%d: %s", i, w.head.Status)
		}
		crowd = append(crowd, w)
	}
	if w := from("y", "203.0.113.1"); w.head.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more than its share: %s", w.head.Status)
	}
	if e := r.events.await(t, func(e Event) bool { return e.Kind == JoinFailed }); e.Node != "y" || !strings.Contains(e.Cause, "every place is taken") {
		t.Errorf("%+v", e)
	}
	for i := range 23 {
		w := from("Bob"+strconv.Itoa(i), "2001:db8:"+strconv.Itoa(i)+"::1")
		w.readAny()
		w.joined()
	}
	for _, w := range crowd {
		w.readAny() // 0{…}
		w.over()
	}
	if w := from("z", "198.51.100.7"); w.head.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("who has joined gave way: %s", w.head.Status)
	}
	joined.write(payload(1, askConnected, `{"ids":["Bob22"]}`))
	joined.want(`431["{\"results\":[{\"id\":\"Bob22\",\"connected\":true}]}"]`)
	if s := r.b.Stats(); s.Displaced != 23 || s.OverShare != 1 || s.Full != 1 || s.Nodes != 24 {
		t.Errorf("%+v", s)
	}
}

func TestOrigins(t *testing.T) {
	r := start(t, nil)
	status := func(header ...string) int {
		w := r.rawDial(nodeQuery("x"), header...)
		w.nc.Close()
		eventually(t, "the id is free", func() bool { return len(r.b.claims()) == 0 })
		return w.head.StatusCode
	}
	for origin, want := range map[string]int{"http://localhost:5173": 101, "http://127.0.0.1": 101, "http://[::1]:80": 101, "http://evil.example": 403, "null": 403, "http://127.0.0.1.evil.example": 403} {
		if got := status("Origin: " + origin); got != want {
			t.Errorf("%s: %d", origin, got)
		}
	}
	if e := r.events.await(t, func(e Event) bool { return e.Kind == JoinRefused }); e.Node != "x" || !strings.HasSuffix(e.Cause, " may not connect, see broker.origins") {
		t.Errorf("%+v", e)
	}
	if s := r.b.Stats(); s.ForeignPages != 3 || s.BadRequests != 0 {
		t.Errorf("%d foreign pages and %d bad requests are counted", s.ForeignPages, s.BadRequests)
	}
	next, err := r.b.Prepare(Settings{Origins: []string{"https://app.example"}})
	if err != nil {
		t.Fatal(err)
	}
	next.Apply()
	for origin, want := range map[string]int{"https://APP.example": 101, "http://localhost": 403} {
		if got := status("Origin: " + origin); got != want {
			t.Errorf("%s: %d", origin, got)
		}
	}
	next, _ = r.b.Prepare(Settings{Origins: []string{"*"}})
	next.Apply()
	if got := status("Origin: http://evil.example"); got != 101 {
		t.Errorf("with *: %d", got)
	}
	for _, bad := range []Settings{{Origins: []string{"app.example"}}, {SameID: "perhaps"}, {Limits: Limits{WaitingBytes: 1}}, {Limits: Limits{Connections: -1}}} {
		if _, err := r.b.Prepare(bad); err == nil {
			t.Errorf("%+v passed", bad)
		}
	}
}

// claims is who holds an id.
func (b *Broker) claims() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var ids []string
	for id := range b.nodes {
		ids = append(ids, id)
	}
	return ids
}
