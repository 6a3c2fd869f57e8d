package relay

import (
	"errors"
	"net/netip"
	"syscall"
)

// PortTrial is what trying to bind relay ports of one address family has shown.
type PortTrial struct {
	Family      int // 4 or 6
	First, Last uint16
	Tried       int
	Taken       int   // somebody else has them
	Forbidden   int   // this process may not bind them: privileged ports, mostly
	Err         error // why others could not be bound, such as an address that this machine does not have; nil: all could
}

// triedAtMost is how many ports are tried of a range that has more, besides those that may be privileged.
const triedAtMost = 512

// TryPorts binds relay ports for a moment, all of a small range and some of a large one, so that what is wrong with them is
// known before a client comes. It is for before Run: who is asked for a port meanwhile may miss one.
func (p *Plane) TryPorts() (all []PortTrial) {
	for i, t := range p.ports {
		if now := t.places.Load().now; now.Bind.IsValid() {
			trial := p.tryPorts(t, now.Bind)
			trial.Family = 4 + 2*i
			all = append(all, trial)
		}
	}
	return all
}

func (p *Plane) tryPorts(t *ports, bind netip.Addr) PortTrial {
	n := len(t.relays)
	r := PortTrial{First: t.min, Last: t.min + uint16(n-1)}
	step := max(1, (n-1)/triedAtMost)
	for i := 0; i < n; i++ {
		port := t.min + uint16(i)
		if i%step != 0 && i != n-1 && port >= 1024 {
			continue
		}
		if claimed, _ := t.claim(i, 1, false, false); claimed != i {
			continue
		}
		r.Tried++
		sock, ok, err := p.bindRelay(netip.AddrPortFrom(bind, port))
		switch {
		case ok:
			sock.close()
		case errors.Is(err, errForbidden):
			r.Forbidden++
			t.forbid()
			continue // it stays claimed, so that nobody tries it again
		case err != nil:
			r.Err = err
		default:
			r.Taken++
		}
		t.release(port)
		if r.Err != nil {
			break
		}
	}
	return r
}

var errForbidden = errors.New("the port is not for this user")

// forbidden reports whether a refusal to bind is about the port's number: others can be bound.
func forbidden(err error) bool {
	return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}
