package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// The names that passed sockets go by (FileDescriptorName= of a socket unit).
const (
	NameBroker  = "broker"
	NameHooks   = "hooks"
	NameAdmin   = "admin"
	NameRedis   = "redis"
	NameTURN    = "turn"
	NameTURNTLS = "turn-tls"
)

// Names are all of them.
var Names = []string{NameBroker, NameHooks, NameAdmin, NameRedis, NameTURN, NameTURNTLS}

const (
	firstFD = 3  // SD_LISTEN_FDS_START
	mostFDs = 64 // more are a mistake
)

// ErrSockets is wrapped by every error about passed sockets.
var ErrSockets = errors.New("the sockets that systemd passed")

// Sockets are listening sockets that the supervisor has opened and passed on. It holds them too, so that clients who
// come while the service is started anew wait, and are not refused. A nil *Sockets has none. Not for concurrent use.
type Sockets struct{ open []socket }

type socket struct {
	fd       int
	name     string
	listener *net.TCPListener // nil: no TCP socket that listens
	what     string           // the kind and address, for errors
}

// NewSockets takes the sockets of LISTEN_FDS, if LISTEN_PID is this process, and removes both variables and
// LISTEN_FDNAMES. It is nil if none are passed. The caller takes each with Take, and ends with Close.
func NewSockets() (*Sockets, error) {
	pid, count, names := take("LISTEN_PID"), take("LISTEN_FDS"), take("LISTEN_FDNAMES")
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > mostFDs {
		return nil, fmt.Errorf("%w: LISTEN_FDS is %q, it must be a number from 0 to %d", ErrSockets, count, mostFDs)
	}
	list := strings.Split(names, ":")
	if names == "" {
		list = make([]string, n)
	}
	if len(list) != n {
		return nil, fmt.Errorf("%w: LISTEN_FDNAMES has %d names for %d sockets", ErrSockets, len(list), n)
	}
	s := &Sockets{}
	for i, name := range list {
		s.open = append(s.open, adopt(firstFD+i, name))
	}
	return s, nil
}

// adopt makes a listener of an inherited descriptor, which it closes: the listener has a duplicate that no child
// inherits.
func adopt(fd int, name string) socket {
	s := socket{fd: fd, name: name, what: "no socket"}
	if !isSocket(fd) {
		return s
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if l, err := net.FileListener(f); err == nil {
		s.what = l.Addr().Network() + " " + l.Addr().String()
		t, isTCP := l.(*net.TCPListener)
		switch {
		case !isTCP:
			_ = l.Close()
		case !listens(fd):
			s.what += ", which does not listen"
			_ = l.Close()
		default:
			s.listener = t
		}
		return s
	}
	if c, err := net.FilePacketConn(f); err == nil {
		s.what = c.LocalAddr().Network() + " " + c.LocalAddr().String()
		_ = c.Close()
	}
	return s
}

// Take returns the sockets for a listener of this name that is configured with these addresses, as [listen.Parse] reads
// them: those of the name, and those at one of the addresses whose own name is none of Names. The caller closes them.
func (s *Sockets) Take(name string, addresses ...string) (taken []*net.TCPListener) {
	if s == nil {
		return nil
	}
	s.open = slices.DeleteFunc(s.open, func(o socket) bool {
		if o.listener == nil {
			return false
		}
		at := o.listener.Addr().(*net.TCPAddr).AddrPort()
		mine := o.name == name || !slices.Contains(Names, o.name) &&
			slices.ContainsFunc(addresses, func(text string) bool {
				a, err := listen.Parse(text)
				return err == nil && a.Is(at)
			})
		if mine {
			taken = append(taken, o.listener)
		}
		return mine
	})
	return taken
}

// Close closes the sockets that nobody has taken, and names them in its error.
func (s *Sockets) Close() error {
	if s == nil {
		return nil
	}
	var left []string
	for _, o := range s.open {
		left = append(left, fmt.Sprintf("%d (%q, %s)", o.fd, o.name, o.what))
		if o.listener != nil {
			_ = o.listener.Close()
		}
	}
	s.open = nil
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("%w: nothing of the configuration listens on %s: name them one of %s, or let the addresses be equal; UDP is not passed",
		ErrSockets, strings.Join(left, ", "), strings.Join(Names, ", "))
}
