package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// tryAgain is how long it takes until relay ports that could not be opened are tried again.
const tryAgain = time.Minute

// tried is how many ports of each address are tried at most: opening all of 16 384 takes a tenth of a second of CPU, and so
// many, evenly spread, tell as well whether a tenth of them is missing.
const tried = 256

// watchRelayPorts finds relay ports that cannot be opened, before an allocation does: some of all of them at first, and
// those that were not to be had again and again, until ctx ends.
func (r *reporter) watchRelayPorts(ctx context.Context) error {
	tick := time.NewTicker(tryAgain)
	defer tick.Stop()
	var on []netip.Addr // where they were tried
	var bad []badPort
	var total int
	for {
		hold := r.now.Load()
		lo, hi := hold.cfg.Turn.RelayPorts.Min, hold.cfg.Turn.RelayPorts.Max
		addrs := relayAddresses(hold)
		if slices.Equal(addrs, on) {
			bad = slices.DeleteFunc(bad, func(p badPort) bool { return tryPort(p.at) == nil })
		} else {
			on = addrs
			bad, total = tryPorts(ctx, addrs, sample(lo, hi), r.relayed())
		}
		r.found.Replace("relay_ports.", relayPortFindings(bad, total))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// relayAddresses are those that relays are bound to.
func relayAddresses(hold *holding) (all []netip.Addr) {
	for _, ip := range []netip.Addr{hold.public.IPv4.Bind, hold.public.IPv6.Bind} {
		if ip.IsValid() {
			all = append(all, ip)
		}
	}
	return all
}

// relayed are the ports that this server's own relays have.
func (p *parts) relayed() map[uint16]bool {
	own := make(map[uint16]bool)
	for _, a := range p.turn.Allocations() {
		own[a.Relayed.Port()] = true
		if a.Also.IsValid() {
			own[a.Also.Port()] = true
		}
	}
	return own
}

// badPort is a relay port that cannot be opened.
type badPort struct {
	at  netip.AddrPort
	err error
}

// sample is at most [tried] of the ports from lo to hi, evenly spread and with both of them: if any is below 1024, so is lo.
func sample(lo, hi uint16) []uint16 {
	n := min(int(hi)-int(lo)+1, tried)
	ports := make([]uint16, n)
	for i := range ports {
		ports[i] = lo + uint16(i*int(hi-lo)/max(n-1, 1))
	}
	return ports
}

// tryPorts tries ports at every address, but for those that are the server's own, and returns those that cannot be opened
// and how many it tried.
func tryPorts(ctx context.Context, addrs []netip.Addr, ports []uint16, own map[uint16]bool) (bad []badPort, total int) {
	for _, ip := range addrs {
		for _, port := range ports {
			if ctx.Err() != nil {
				return bad, total
			}
			if own[port] {
				continue
			}
			total++
			at := netip.AddrPortFrom(ip, port)
			if err := tryPort(at); err != nil {
				bad = append(bad, badPort{at, err})
			}
		}
	}
	return bad, total
}

// tryPort opens a port and closes it at once.
func tryPort(at netip.AddrPort) error {
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	return c.Close()
}

// relayPortFindings says what is wrong with so many of total ports. That other programs have a few of many does no harm: an
// allocation gets another one.
func relayPortFindings(bad []badPort, total int) (found []findings.Finding) {
	denied := slices.IndexFunc(bad, func(p badPort) bool { return errors.Is(p.err, fs.ErrPermission) })
	switch {
	case denied >= 0:
		found = append(found, findings.Finding{
			ID: "relay_ports.denied", Detail: fmt.Sprintf("relay ports such as %s cannot be opened: this user may not", bad[denied].at),
			Remedy: "let turn.relay_ports begin at 1024 or above, or run with CAP_NET_BIND_SERVICE",
		})
	case len(bad)*10 >= total && len(bad) > 0:
		found = append(found, findings.Finding{
			ID: "relay_ports.taken", Detail: fmt.Sprintf("a tenth or more of the relay ports, such as %s, cannot be opened: %v", bad[0].at, inner(bad[0].err)),
			Remedy: "end the programs that have them, or give turn.relay_ports a range that nothing else uses",
		})
	}
	return found
}

// inner is what the system says of a socket.
func inner(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
