package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// decider allows everything, unless a test says otherwise.
type decider struct {
	mu           sync.Mutex
	authenticate func(context.Context, Join) Admission
	configure    func(context.Context, string) ([]byte, Verdict)
	authorize    func(ctx context.Context, from, to string) Verdict
	invalid      func(nodes []string, name func(node, cause string))
	messages     []string
}

const rtc = `{"iceServers":[{"urls":["stun:x"]}],"iceCandidatePoolSize":0}`

func (d *decider) Authenticate(ctx context.Context, j Join) Admission {
	if d.authenticate != nil {
		return d.authenticate(ctx, j)
	}
	return Admission{Verdict{Allowed, ""}, true}
}

func (d *decider) Configuration(ctx context.Context, node string, _ netip.Addr) ([]byte, Verdict) {
	if d.configure != nil {
		return d.configure(ctx, node)
	}
	return []byte(rtc), Verdict{Allowed, ""}
}

func (d *decider) Authorize(ctx context.Context, from, to string) Verdict {
	if d.authorize != nil {
		return d.authorize(ctx, from, to)
	}
	return Verdict{Allowed, ""}
}

func (d *decider) Invalid(_ context.Context, nodes []string, name func(node, cause string)) {
	if d.invalid != nil {
		d.invalid(nodes, name)
	}
}

func (d *decider) Message(from, to string, connected bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.messages = append(d.messages, fmt.Sprint(from, ">", to, " ", connected))
}

// events collects what is observed.
type events struct {
	mu   sync.Mutex
	all  []Event
	more chan struct{}
}

func (e *events) Observe(event Event) {
	e.mu.Lock()
	e.all = append(e.all, event)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// await finds the first event that matches, however long it takes to come.
func (e *events) await(t *testing.T, match func(Event) bool) Event {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		e.mu.Lock()
		for _, event := range e.all {
			if match(event) {
				e.mu.Unlock()
				return event
			}
		}
		e.mu.Unlock()
		select {
		case <-e.more:
		case <-deadline:
			t.Fatalf("no such event in %+v", e.all)
		}
	}
}

// rig is a Broker that runs.
type rig struct {
	t       testing.TB
	b       *Broker
	decider *decider
	events  *events
	stop    func()
}

func plain() Settings { return Settings{P2P: true, RelayMessages: true} }

func start(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, decider: &decider{}, events: &events{more: make(chan struct{}, 1)}}
	cfg := Config{Listen: "127.0.0.1:0", Decider: r.decider, Observer: r.events, Settings: plain(), StopTimeout: time.Second, timing: timing{linger: time.Second, redis: 20 * time.Second}}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.b = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if n := b.waiting.Load(); n != 0 {
				t.Errorf("%d bytes still count as waiting", n)
			}
			open, _, _ := b.places.Size()
			if len(b.nodes)+len(b.sockets)+len(b.live)+open != 0 {
				t.Errorf("left behind: %d ids, %d sockets, %d connections, %d places", len(b.nodes), len(b.sockets), len(b.live), open)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// wire is a client on the level of frames.
type wire struct {
	t    testing.TB
	nc   net.Conn
	in   *bufio.Reader
	head *http.Response
}

// rawDial sends an upgrade with a query, and headers beyond the usual; it returns whatever is answered.
func (r *rig) rawDial(query string, header ...string) *wire {
	r.t.Helper()
	return rawDial(r.t, r.b.Addr().String(), query, header...)
}

func rawDial(t testing.TB, addr, query string, header ...string) *wire {
	t.Helper()
	w := dialRaw(t, addr, query, header...)
	var err error
	if w.head, err = http.ReadResponse(w.in, nil); err != nil {
		t.Fatalf("no answer to the handshake: %v", err)
	}
	return w
}

// dialRaw is rawDial without the answer.
func dialRaw(t testing.TB, addr, query string, header ...string) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, nc: nc, in: bufio.NewReader(nc)}
	t.Cleanup(func() { nc.Close() })
	fmt.Fprintf(nc, "GET /socket.io/?%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
		query, addr, strings.Join(append(header, ""), "\r\n"))
	w.deadline()
	return w
}

func (w *wire) deadline() { _ = w.nc.SetDeadline(time.Now().Add(20 * time.Second)) }

func nodeQuery(id string) string {
	return "EIO=4&transport=websocket&version=1&runtime=JVM&id=" + url.QueryEscape(id)
}

// dial upgrades and reads the first packet.
func (r *rig) dial(query string, header ...string) *wire {
	r.t.Helper()
	w := r.rawDial(query, header...)
	if w.head.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("handshake answered %d", w.head.StatusCode)
	}
	if m := w.read(); !strings.HasPrefix(m, `0{"sid":"`) {
		r.t.Fatalf("first packet is %q", m)
	}
	return w
}

// join makes a Node that has been told its configuration.
func (r *rig) join(id string) *wire {
	r.t.Helper()
	w := r.dial(nodeQuery(id))
	w.joined()
	return w
}

func (w *wire) joined() {
	w.t.Helper()
	w.write("40")
	if m := w.read(); !strings.HasPrefix(m, `40{"sid":"`) {
		w.t.Fatalf("CONNECT answered %q", m)
	}
	if m := w.read(); !strings.HasPrefix(m, `42["AUTHENTICATED",`) {
		w.t.Fatalf("after CONNECT came %q", m)
	}
}

func (w *wire) write(text string) { w.frame(ws.NewTextFrame([]byte(text))) }

func (w *wire) frame(f ws.Frame) {
	w.t.Helper()
	w.deadline()
	if err := ws.WriteFrame(w.nc, ws.MaskFrame(f)); err != nil && !errors.Is(err, net.ErrClosed) {
		w.t.Logf("write: %v", err)
	}
}

// read is the next message, without pings unless a test looks for them: text, "close CODE", or "end".
func (w *wire) read() string {
	w.t.Helper()
	for {
		if m := w.readAny(); m != "2" {
			return m
		}
		w.write("3")
	}
}

func readFrame(in io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(in); err == nil {
		f.Payload = make([]byte, f.Header.Length)
		_, err = io.ReadFull(in, f.Payload)
	}
	return f, err
}

func (w *wire) readAny() string {
	w.t.Helper()
	w.deadline()
	f, err := readFrame(w.in)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			w.t.Error("nothing came in 20 s")
		}
		return "end"
	}
	switch f.Header.OpCode {
	case ws.OpText:
		return string(f.Payload)
	case ws.OpClose:
		if len(f.Payload) == 0 {
			return "close 1005"
		}
		code, _ := ws.ParseCloseFrameData(f.Payload)
		return fmt.Sprint("close ", code)
	}
	return fmt.Sprint("opcode ", f.Header.OpCode, " ", string(f.Payload))
}

// want reads messages and compares them.
func (w *wire) want(messages ...string) {
	w.t.Helper()
	for _, m := range messages {
		if got := w.read(); got != m {
			w.t.Fatalf("got %q, want %q", got, m)
		}
	}
}

// over waits for the end of TCP.
func (w *wire) over() {
	w.t.Helper()
	w.deadline()
	if n, err := io.Copy(io.Discard, w.in); err != nil || n > 0 {
		w.t.Errorf("%d bytes more, %v", n, err)
	}
	w.nc.Close()
}

// payload is a relayed event's with an ack id.
func payload(id int, event, inner string) string {
	return fmt.Sprintf(`42%d["%s",%s]`, id, event, quote([]byte(inner)))
}
