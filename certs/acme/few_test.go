package acme

import (
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// However many connect and say nothing, from the CA's own source too, the CA gets its answer: nobody's time-out is awaited.
func TestHTTP01AmongSilentConnections(t *testing.T) {
	w := &web01{listen: "127.0.0.1:0", hosts: []string{"example.org"}, patience: time.Hour}
	c := acme.Challenge{Token: "token", KeyAuthorization: "token.key"}
	if err := w.Present(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.CleanUp(t.Context(), c); err != nil {
			t.Error(err)
		}
	}()
	var silent []net.Conn
	for range 2 * webConnections {
		conn, err := net.Dial("tcp", w.at().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + w.at().String() + challengePath + c.Token)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != c.KeyAuthorization {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := silent[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest silent connection got something")
	}
}

// strange is a connection of a client at an address.
type strange struct {
	net.Conn

	from   *net.TCPAddr
	closed *int
}

func (s strange) RemoteAddr() net.Addr { return s.from }

func (s strange) Close() error {
	*s.closed++
	return nil
}

// The source that has most gives way, by its oldest; where all have one, the oldest of all does.
func TestWhoGivesWay(t *testing.T) {
	for _, tt := range []struct {
		name string
		come []string
		gone []int
	}{
		{"a crowd of one address", []string{"192.0.2.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "192.0.2.2"}, []int{1, 2}},
		{"a crowd of one network", []string{"2001:db8::1", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3", "2001:db8:1::4"}, []int{1}},
		{"everybody has one", []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}, []int{0, 1}},
	} {
		l := newFew(nil, 4)
		var all, away []*placed
		closed := 0
		for _, ip := range tt.come {
			p, a := l.enter(strange{from: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}, closed: &closed})
			if all = append(all, p); a != nil {
				a.end()
				away = append(away, a)
			}
		}
		var gone []int
		for _, a := range away {
			gone = append(gone, slices.Index(all, a))
		}
		if !slices.Equal(gone, tt.gone) || closed != len(gone) || l.open != 4 {
			t.Errorf("%s: %v gave way, want %v; %d closed, %d open", tt.name, gone, tt.gone, closed, l.open)
		}
		for _, p := range all {
			_ = p.Close()
		}
		if l.open != 0 || len(l.bySource) != 0 {
			t.Errorf("%s: %d of %d sources are left", tt.name, l.open, len(l.bySource))
		}
	}
}
