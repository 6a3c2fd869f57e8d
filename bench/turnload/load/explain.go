package load

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// explain says what a refusal most likely means. peer is the address of the refused peer, if it was about one.
func explain(err error, c Config, peer string) error {
	if errors.Is(err, turnclient.ErrTimeout) {
		return fmt.Errorf("%w: does it listen there, is a firewall between, or does it limit unauthenticated requests "+
			"per address (crolang-aio: turn.limits.unauthenticated_per_second)?", err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing listens for %s at %s: %w", c.Transport, c.Server, err)
	}
	why := ""
	switch turnclient.Code(err) {
	case 400:
		why = "the server finds the request malformed; is it a TURN server?"
	case 401:
		why = "the credential does not fit: is it the server's secret (or user name and password), and are both clocks right?"
	case 403:
		why = "the server does not let this credential allocate"
		if peer != "" {
			why = fmt.Sprintf("the server denies peers at %s, see turn.peers.allow (coturn: allowed-peer-ip, for loopback "+
				"allow-loopback-peers), or name another local address with -peer", peer)
		}
	case 437:
		why = "an earlier run from the same port left an allocation behind; it ends by itself within its lifetime, usually ten minutes"
	case 440, 443:
		why = "the server relays no such address family"
		if peer != "" {
			why = fmt.Sprintf("the relay is not of the family of the peer's address %s, see -peer", peer)
		}
	case 441:
		why = "the allocation belongs to another user"
	case 442:
		why = "the server relays no UDP"
	case 486:
		why = "the quota of this user is used up, see turn.limits.allocations_per_node (coturn: user-quota)"
	case 508:
		why = "the server has no capacity left: relay ports, turn.limits.allocations (coturn: total-quota), or it is being drained"
	case 300:
		why = "the server sends clients to another one; name that one"
	default:
		return err
	}
	return fmt.Errorf("%w over %s: %s", err, c.Transport, why)
}
