package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ErrNotReady means that the server does not answer a PING.
var ErrNotReady = errors.New("redis does not answer")

// Ping connects as a client does, gives the password and asks for a PONG: readiness as a Broker would find it. Without
// a deadline in ctx it takes 2 s at most.
func (s *Server) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	to := *s.Addr()
	if to.IP.IsUnspecified() {
		if to.IP.To4() != nil {
			to.IP = net.IPv4(127, 0, 0, 1)
		} else {
			to.IP = net.IPv6loopback
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	var ask []byte
	if s.cfg.Password != "" {
		ask = appendBulk(appendBulk(appendArray(ask, 2), "AUTH"), s.cfg.Password)
	}
	ask = appendBulk(appendArray(ask, 1), "PING")
	if _, err := conn.Write(ask); err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		switch line = strings.TrimSpace(line); {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrNotReady, err)
		case line == "+PONG":
			return nil
		case line != "+OK":
			return fmt.Errorf("%w: %s", ErrNotReady, strings.TrimPrefix(line, "-ERR "))
		}
	}
}
