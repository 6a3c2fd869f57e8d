package doctor

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// explanation is what an error of the server means and what to do.
type explanation struct{ detail, remedy string }

// codes are the answers whose meaning does not depend on the request (RFC 8489 §14.8, RFC 8656 §19).
var codes = map[int]explanation{
	300: {"it sends clients to another server, but does not say which (300 Try Alternate)", "correct the redirection there (turn.alternate; coturn: alternate-server), or take it out"},
	400: {"it calls the request malformed (400)", "look at the server's log; something on the way may change STUN messages, such as an ALG of a router: turn it off, or use TLS"},
	403: {"it is forbidden (403)", "allow it in the server's peer policy (turn.peers.allow; coturn: allowed-peer-ip)"},
	405: {"it does not allow this method (405)", "check that it is a TURN server and not STUN alone"},
	420: {"it does not know a required attribute (420)", "update the server"},
	437: {
		"it says that there is an allocation already, or none, for this connection (437)",
		"what is in front of the server mixes up connections: let a load balancer keep a client on one server, or try again where the server was just restarted",
	},
	438: {
		"it calls every nonce stale (438), also the one it just gave",
		"let a load balancer keep a client on one server: each knows only its own nonces; or its clock jumps",
	},
	440: {"it has no relays of the address family (440)", "give it an address of that family (public.ipv4, public.ipv6; coturn: relay-ip)"},
	441: {
		"it says that the allocation belongs to another credential (441)",
		"a NAT or load balancer gave two clients the same address: use another port or TLS",
	},
	442: {"it offers no relays over UDP (442)", "turn UDP relaying on (coturn: take no-udp-relay out)"},
	443: {"the peer is of another address family than the relay (443)", "ask for a relay of the peer's family"},
	446: {"it does not know the connection (446)", "try again"},
	447: {"it could not reach the peer (447)", "look at the server's firewall"},
	486: {
		"the quota of allocations of this user is used up (486)",
		"wait until some end, or raise turn.limits.allocations_per_node (coturn: user-quota)",
	},
	500: {"it failed inside (500)", "look at the server's log"},
	508: {
		"it has no capacity left (508): all relay ports are taken, a total limit is reached, or it is draining before its end",
		"look at the server's log; widen turn.relay_ports (coturn: min-port, max-port), raise turn.limits.allocations (coturn: total-quota), or wait for its restart",
	},
}

// explainCode says what an error of a request means. c is the client whose credential it may be about, or nil.
func (p *probe) explainCode(ctx context.Context, err error, c *turnclient.Client) explanation {
	var e *turnclient.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, turnclient.ErrTimeout):
		return explanation{"no answer any more", "look at the server's log: it answered before"}
	case errors.Is(err, turnclient.ErrAnswer), errors.Is(err, stunmsg.ErrAddress):
		return explanation{"its answer is none: " + err.Error(), "check that it is a TURN server; look at its log"}
	default:
		return explanation{"the connection broke: " + lastOf(err), "look at the server's log"}
	}
	if p.cfg.Local != nil {
		if x, ok := p.cfg.Local.explain(ctx, e.Code, p.t.Username); ok {
			return x
		}
	}
	// Servers made with pion answer a wrong password with 400.
	_, pion := nonceClock(nonceOf(c), p.cfg.Now())
	if c != nil && (e.Code == 401 || e.Code == 400 && pion) {
		return p.explain401(c)
	}
	x, ok := codes[e.Code]
	switch {
	case e.Code == 0:
		x = explanation{"it refuses without a code", "look at the server's log"}
	case !ok:
		x = explanation{fmt.Sprintf("it answered with error %d", e.Code), "look at the server's log"}
	}
	if e.Reason != "" {
		x.detail += fmt.Sprintf(", in its words %.60q", e.Reason)
	}
	return x
}

// explain401 is about the credential: what it says of itself, what the realm tells.
func (p *probe) explain401(c *turnclient.Client) explanation {
	realm := c.Realm()
	if realm == "" {
		return explanation{"it refuses the credential (401) without saying for which realm", "set a realm at the server (turn.realm; coturn: realm)"}
	}
	if l := p.cfg.Local; l != nil && realm != l.Realm {
		return explanation{
			fmt.Sprintf("it refuses the credential (401): its realm is %.60q and not %q, so another TURN server answers there", realm, l.Realm),
			"stop the other server (coturn?), or correct public.host, DNS or the port forwarding",
		}
	}
	name, err := credential.Parse(p.t.Username)
	if err != nil {
		return explanation{
			fmt.Sprintf("it refuses the credential (401): username or password is wrong for its realm %.60q", realm),
			"check both, and that the user was made for this realm; with a shared secret the username is <unix expiry>:<id> and the password is derived from it",
		}
	}
	now := p.cfg.Now()
	if left := name.Expires.Sub(now); left <= 0 {
		return explanation{
			fmt.Sprintf("it refuses the credential (401): that expired %s ago, on %s", days(-left), name.Expires.UTC().Format("2006-01-02 15:04:05 UTC")),
			"get a new one; where it is new, the clock of the machine that issued it is behind, or this one ahead",
		}
	}
	x := explanation{
		fmt.Sprintf("it refuses the credential (401), which has %s left: the password is not of its secret for the realm %.60q", days(name.Expires.Sub(now)), realm),
		"use the same secret where credentials are made and at the server (credentials.secret; coturn: static-auth-secret); a server whose clock is ahead by as much, " +
			"and one that has banned the Node (crolang-aio why NODE), answers the same",
	}
	if skew, known := nonceClock(nonceOf(c), now); known && skew >= name.Expires.Sub(now) {
		return explanation{
			fmt.Sprintf("it refuses the credential (401): by its nonce the server's clock is %s, so that the credential has expired there", aheadOrBehind(skew)),
			"set both clocks by NTP",
		}
	}
	return x
}

func nonceOf(c *turnclient.Client) []byte {
	if c == nil {
		return nil
	}
	return c.Nonce()
}

// nonceClock reads the server's clock from its nonce, if that is one of pion's: the time at which it was made, then a MAC.
// skew is how far the server's clock is ahead, to the minute. The nonces of other servers tell nothing of their clocks.
func nonceClock(nonce []byte, now time.Time) (skew time.Duration, known bool) {
	var at time.Time
	if raw, err := hex.DecodeString(string(nonce)); err == nil && len(raw) == 40 { // milliseconds
		at = time.UnixMilli(int64(binary.BigEndian.Uint64(raw)))
	} else if n, ok := new(big.Int).SetString(string(nonce), 36); ok && len(nonce) > 16 && n.Sign() > 0 && n.BitLen() <= 128 {
		// Whole minutes, as the first four of 16 bytes.
		minutes := new(big.Int).Rsh(n, 96).Int64()
		at = time.Unix(minutes*60+30, 0)
	}
	skew = at.Sub(now)
	const most = 5 * 365 * 24 * time.Hour // beyond that it is chance
	return skew, skew < most && skew > -most
}

func aheadOrBehind(skew time.Duration) string {
	if skew < 0 {
		return days(-skew) + " behind"
	}
	return days(skew) + " ahead"
}
