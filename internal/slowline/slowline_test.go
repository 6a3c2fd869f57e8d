package slowline

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestLine sends through a line and back: it takes at least the round trip, nothing is lost, and the line's own address is
// seen at the other end.
func TestLine(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	seen := make(chan string, 1)
	go func() {
		c, err := server.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		seen <- host
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}()
	const roundTrip = 60 * time.Millisecond
	l, err := New(server.Addr().String(), "127.0.0.9", roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := make([]byte, 100_000)
	for i := range want {
		want[i] = byte(i * i >> 8)
	}
	go func() { _, _ = c.Write(want) }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != string(want) {
		t.Fatalf("what came back is not what was sent: %v", err)
	}
	if d := time.Since(begun); d < 2*roundTrip {
		t.Errorf("two round trips took %s", d)
	}
	if host := <-seen; host != "127.0.0.9" {
		t.Errorf("the server saw %s", host)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(got); !errors.Is(err, io.EOF) && err == nil {
		t.Error("the connection outlives the line")
	}
}
