package doctor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
)

// errRefused is a Broker's decided no.
var errRefused = errors.New("the Broker refused")

// brokerAt is where this machine reaches the Broker in the server's process; empty: there is none.
func brokerAt(s *adminapi.Status) string {
	for _, l := range s.Listeners {
		at, err := netip.ParseAddrPort(l.Address)
		if l.Part != "broker" || err != nil {
			continue
		}
		switch ip := at.Addr(); {
		case ip == netip.IPv6Unspecified():
			at = netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())
		case ip.IsUnspecified():
			at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
		}
		return at.String()
	}
	return ""
}

// nodes joins two Nodes of its own to the Broker in the server's process, and has the one send the other a message and ask it
// for a connection.
func (l *local) nodes(ctx context.Context) []Finding {
	var n notes
	if l.status == nil || brokerAt(l.status) == "" {
		return nil
	}
	at := brokerAt(l.status)
	step, cancel := context.WithTimeout(ctx, 4*l.cfg.Patience)
	defer cancel()
	var tag [4]byte
	_, _ = rand.Read(tag[:])
	id := nodeid.DoctorPrefix + hex.EncodeToString(tag[:])
	one, err := joinBroker(step, at, id+"-1")
	if err == nil {
		defer one.Close()
		var two *brokerNode
		if two, err = joinBroker(step, at, id+"-2"); err == nil {
			defer two.Close()
			return l.exchanged(one, two)
		}
	}
	switch {
	case ctx.Err() != nil:
		return []Finding{unfinished(ctx, "")}
	case errors.Is(err, errRefused):
		n.add(OK, "join", "the Broker at "+at+" answers, and lets doctor's Nodes not in, as hooks.authenticate says: "+err.Error(), "")
	default:
		n.add(Fail, "join", "no Node can join the Broker at "+at+": "+err.Error(), "look at the server's log")
	}
	return n
}

func (l *local) exchanged(one, two *brokerNode) []Finding {
	var n notes
	n.add(OK, "join", "two Nodes of doctor's join the Broker, and are told an RTC configuration with "+plural.Of(one.servers, "server"), "")
	for i, event := range []string{"SOCKET_MSG_EXCHANGE", "CONNECTION_ATTEMPT"} {
		what := [...]string{"a message", "an offer"}[i]
		switch answer, err := one.send(i, event, two); {
		case err != nil:
			n.add(Fail, "exchange", what+" of a Node does not reach another through the Broker: "+err.Error(), "look at the server's log")
		case answer == "UNAUTHORIZED":
			n.add(OK, "exchange", "the Broker does not pass "+what+" on between doctor's Nodes, as hooks.authorize says", "")
		case answer == "DISABLED":
			n.add(Warn, "exchange", "the Broker passes no such thing on: "+what, "set broker.p2p and broker.relay_messages to true, unless it is meant so")
		case answer != "OK":
			n.add(Fail, "exchange", "the Broker answers "+answer+" to "+what+" of a Node for another", "look at the server's log")
		default:
			n.add(OK, "exchange", what+" of a Node reaches another through the Broker", "")
		}
	}
	return n
}

// brokerNode is a Node that has joined a Broker.
type brokerNode struct {
	net.Conn
	id      string
	servers int // of its RTC configuration
}

// joinBroker joins the Broker at addr. The caller closes the Node.
func joinBroker(ctx context.Context, addr, id string) (*brokerNode, error) {
	q := url.Values{"EIO": {"4"}, "transport": {"websocket"}, "id": {id}, "version": {"1"}, "runtime": {"doctor"}}
	c, early, _, err := ws.Dial(ctx, "ws://"+addr+"/socket.io/?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if early != nil { // what came with the answer
		c = readFrom{c, early}
	}
	n := &brokerNode{Conn: c, id: id}
	if end, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	if err = n.join(); err != nil {
		c.Close()
		return nil, err
	}
	return n, nil
}

type readFrom struct {
	net.Conn
	r io.Reader
}

func (r readFrom) Read(b []byte) (int, error) { return r.r.Read(b) }

func (n *brokerNode) join() error {
	if _, err := n.want("0"); err != nil {
		return err
	}
	if err := wsutil.WriteClientText(n, []byte("40")); err != nil {
		return err
	}
	if _, err := n.want("40"); err != nil {
		return err
	}
	text, err := n.want(`42["AUTHENTICATED",`)
	if err != nil {
		return err
	}
	var event []string
	var rtc struct{ ICEServers []json.RawMessage }
	if err = json.Unmarshal([]byte(text[2:]), &event); err == nil {
		err = json.Unmarshal([]byte(event[1]), &rtc)
	}
	n.servers = len(rtc.ICEServers)
	return err
}

// want reads until a message begins so.
func (n *brokerNode) want(prefix string) (string, error) {
	for {
		msg, err := wsutil.ReadServerText(n)
		text := string(msg)
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(text, prefix):
			return text, nil
		case strings.HasPrefix(text, "44"):
			return "", fmt.Errorf("%w: %s", errRefused, text[2:])
		case text != "2":
			return "", fmt.Errorf("it says %.60q, where %s was to come", text, prefix)
		}
	}
}

// send sends an event to another Node, and returns the Broker's answer once an event that was passed on has arrived.
func (n *brokerNode) send(ack int, event string, to *brokerNode) (answer string, err error) {
	payload, err := json.Marshal(map[string]string{"from": n.id, "to": to.id, "at": time.Now().Format(time.RFC3339Nano)})
	if err != nil {
		return "", err
	}
	args, err := json.Marshal([]string{event, string(payload)})
	if err != nil {
		return "", err
	}
	if err = wsutil.WriteClientText(n, fmt.Appendf(nil, "42%d%s", ack, args)); err != nil {
		return "", err
	}
	prefix := fmt.Sprintf("43%d", ack)
	text, err := n.want(prefix)
	var said []string
	if err == nil {
		err = json.Unmarshal([]byte(text[len(prefix):]), &said)
	}
	if err != nil || len(said) != 1 || said[0] != "OK" {
		return strings.Join(said, " "), err
	}
	_, err = to.want("42" + string(args))
	return "OK", err
}
