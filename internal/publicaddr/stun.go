package publicaddr

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// askTimeout is how long all servers together are given to answer.
const askTimeout = 3 * time.Second

// Answer is what one STUN server said, or why it said nothing.
type Answer struct {
	Server string     // as it was given
	Addr   netip.Addr // IPv4 address from which the server saw the question come; not valid with Err
	Err    error
}

// Ask asks each of servers ("stun:HOST" or "stun:HOST:PORT") over UDP and IPv4 under which address it sees this machine.
// All are asked at once, and Ask returns within a few seconds, with an answer for each in the same order.
func Ask(ctx context.Context, servers []string) []Answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all := make([]Answer, len(servers))
	var asking sync.WaitGroup
	for i, server := range servers {
		asking.Go(func() {
			addr, err := ask(ctx, server)
			all[i] = Answer{server, addr, err}
		})
	}
	asking.Wait()
	return all
}

// Majority is the address that most answers have, among equals the first. False: there is none.
func Majority(answers []Answer) (best netip.Addr, ok bool) {
	votes := make(map[netip.Addr]int)
	for _, a := range answers {
		if a.Err == nil {
			votes[a.Addr]++
		}
	}
	for _, a := range answers {
		if a.Err == nil && votes[a.Addr] > votes[best] {
			best, ok = a.Addr, true
		}
	}
	return best, ok
}

// ask asks one server for the address from which it sees this machine.
func ask(ctx context.Context, server string) (netip.Addr, error) {
	at := strings.TrimPrefix(server, "stun:")
	if _, _, err := net.SplitHostPort(at); err != nil {
		at = net.JoinHostPort(strings.Trim(at, "[]"), "3478")
	}
	c, err := turnclient.Dial(ctx, turnclient.Options{Transport: "udp", Family: "4", Addr: at, Timeout: askTimeout})
	if err != nil {
		return netip.Addr{}, oneCause(err)
	}
	defer c.Close()
	seen, err := c.Binding(ctx)
	if err != nil || !seen.Addr().Is4() || !plausible(seen.Addr(), c.RemoteAddr()) {
		return netip.Addr{}, errNoAnswer
	}
	return seen.Addr(), nil
}

var errNoAnswer = errors.New("no answer")

// plausible reports whether an IPv4 address may be the one under which a server sees this machine. What a server says is
// told to every client, so an address that no client could reach is no answer. Private ones are: the server may stand
// in the same network.
func plausible(a netip.Addr, server netip.AddrPort) bool {
	if a.IsLoopback() {
		return server.Addr().IsLoopback()
	}
	first := a.As4()[0]
	return first != 0 && first < 224 && !a.IsLinkLocalUnicast()
}

// oneCause is the innermost of a network error: what the system or the resolver says.
func oneCause(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New("its name is not known: " + e.Err)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	return err
}
