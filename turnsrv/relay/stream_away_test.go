//go:build unix

package relay

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sealer writes TLS 1.3 records (TLS_AES_128_GCM_SHA256) in the place of a client, whose package has no way to ask for
// an update of keys.
type sealer struct {
	testing.TB
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	n      uint64
}

func expand(t testing.TB, secret []byte, label string, size int) []byte {
	t.Helper()
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(append(info, "tls13 "+label...), 0)
	b, err := hkdf.Expand(sha256.New, secret, string(info), size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *sealer) use(secret []byte) {
	s.Helper()
	block, err := aes.NewCipher(expand(s, secret, "key", 16))
	if err == nil {
		s.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.secret, s.iv, s.n = secret, expand(s, secret, "iv", 12), 0
}

func (s *sealer) seal(kind byte, content []byte) []byte {
	plain := append(bytes.Clone(content), kind)
	head := []byte{23, 3, 3, byte((len(plain) + 16) >> 8), byte(len(plain) + 16)}
	nonce := bytes.Clone(s.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, s.n) {
		nonce[4+i] ^= b
	}
	s.n++
	return s.aead.Seal(head, nonce, plain, head)
}

// update is a KeyUpdate that asks for one in return.
func (s *sealer) update() []byte {
	b := s.seal(22, []byte{24, 0, 0, 1, 1})
	s.use(expand(s, s.secret, "traffic upd", 32))
	return b
}

// unread is a client that has done a TLS handshake, writes with a sealer, and does not read.
func unread(t *testing.T, s *streamServer) (net.Conn, *sealer) {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	c, err := d.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	var keys bytes.Buffer
	secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: &keys})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	if secure.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("without AES in hardware another cipher comes first")
	}
	w := &sealer{TB: t}
	for line := range strings.Lines(keys.String()) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(f[2])
			if err != nil {
				t.Fatal(err)
			}
			w.use(secret)
		}
	}
	return c, w
}

// TestKeyUpdatesWithoutEnd has a client ask for new keys again and again and read nothing: what it would be told of
// them is not kept without bound.
func TestKeyUpdatesWithoutEnd(t *testing.T) {
	for _, known := range []bool{false, true} {
		s := newWorld(t).streams(TLS)
		c, w := unread(t, s)
		msg := binding()
		if _, err := c.Write(w.seal(23, msg)); err != nil {
			t.Fatal(err)
		}
		src := <-s.control.seen
		if known {
			src.MarkAuthenticated()
			if _, err := s.Open(src, OpenOptions{Family: 4}); err != nil {
				t.Fatal(err)
			}
		}
		most, waits := 0, 0
		conn := src.stream.tcp
		_ = conn.SetWriteBuffer(16 << 10)       // otherwise the kernel takes megabytes first
		for known && waits < tooMuch-(64<<10) { // what is for it already saves many thousand keys
			if _, err := conn.Write(make([]byte, 16<<10)); err != nil {
				t.Fatal(err)
			}
			conn.mu.Lock()
			waits = conn.backlog
			conn.mu.Unlock()
		}
		// That the server has ended it tells the end, not a failed write: with so small a buffer at the client, two TCPs may
		// take minutes to find out.
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			for err := error(nil); err == nil; {
				var b []byte
				for range 100 { // a message between them, since package tls bears 16 records in a row that bring nothing
					b = append(b, w.update()...)
					b = append(b, w.seal(23, channelData(0x4000, []byte("data")))...)
				}
				_, err = c.Write(b)
				conn.mu.Lock()
				most = max(most, conn.backlog, cap(conn.pending))
				conn.mu.Unlock()
			}
		}()
		select {
		case err := <-s.errs: // or TCP was so slow that a write to the client has timed out
			if err == nil || !strings.Contains(err.Error(), errTooMuch.Error()) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("ServeStream: %v", err)
			}
		case <-time.After(20 * patience):
			t.Fatal("the connection is not closed")
		}
		_ = c.SetWriteDeadline(time.Now())
		<-wrote
		if bound := 2 * tooMuch; most > bound || !known && most > 4*strangerTooMuch {
			t.Errorf("%d bytes were kept", most)
		}
	}
}

// TestStrangersKeepLittle has a client that has not authenticated ask without reading: answers are dropped early.
func TestStrangersKeepLittle(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c := s.client()
		conn := c.src.stream.tcp
		var b []byte
		for range 500 {
			b = append(b, binding()...)
		}
		most := 0
		_ = c.SetWriteDeadline(time.Now().Add(4 * patience))
		for dropped := false; !dropped; {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			conn.mu.Lock()
			most = max(most, conn.backlog)
			dropped = conn.backlog >= strangerBacklog
			conn.mu.Unlock()
		}
		if most > strangerTooMuch {
			t.Errorf("%d bytes were kept", most)
		}
	})
}

// TestAway has clients with a relay stand in the middle of a frame, or take nothing, for longer than others may, and
// tells in the end who was silent and for how long.
func TestAway(t *testing.T) {
	gone := make(chan string, 10)
	bothStreams(t, func(t *testing.T, s *streamServer) {
		msg := binding()
		for _, patient := range []bool{true, false} {
			c := s.client()
			c.src.MarkAuthenticated()
			r, err := s.Open(c.src, OpenOptions{Family: 4})
			if err != nil {
				t.Fatal(err)
			}
			c.put(msg[:10])
			if patient {
				time.Sleep(4 * s.cfg.FrameTimeout)
				c.put(msg[10:])
				c.expect(msg)
				r.Close()
				c.put(msg[:10]) // now it is like any other
				c.closed()
				if err := <-s.errs; err == nil || !strings.Contains(err.Error(), "in the middle of a frame") {
					t.Errorf("ServeStream: %v", err)
				}
				continue
			}
			c.closed()
			if cause := <-gone; !strings.HasPrefix(cause, "the client was silent for ") || !strings.HasSuffix(cause, "s in the middle of a frame") {
				t.Errorf("cause %q", cause)
			}
			if err := <-s.errs; err == nil {
				t.Error("the stream ended without a reason")
			}
		}
	}, func(c *Config) {
		c.FrameTimeout, c.AwayTimeout = 100*time.Millisecond, time.Second
		c.OnClientGone = func(_ *Relay, cause string) { gone <- cause }
	})
}

// TestSilenceIsTold has a client that reads nothing lose its connection after a while, and the cause says that it was
// there.
func TestSilenceIsTold(t *testing.T) {
	gone := make(chan string, 10)
	bothStreams(t, func(t *testing.T, s *streamServer) {
		stuck, peer := s.client(), newEndpoint(t, loopback4)
		r, err := s.Open(stuck.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Permit(Grant{Addr: loopback4, Scope: ScopeAny}); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 1200)
		for end := time.Now().Add(4 * patience); time.Now().Before(end); {
			select {
			case cause := <-gone:
				if !strings.Contains(cause, "has read nothing for") && !strings.Contains(cause, "taken nothing") {
					t.Errorf("cause %q", cause)
				}
				return
			default:
				peer.to(r.Addr(), data)
			}
		}
		t.Error("the stream is not closed")
	}, func(c *Config) {
		c.WriteTimeout, c.AwayTimeout = 100*time.Millisecond, time.Second
		c.OnClientGone = func(_ *Relay, cause string) { gone <- cause }
	})
}

const stoppedChild = "RELAY_TEST_STOPPED_CHILD"

// TestStoppedProcess stops the server's process (SIGSTOP) while a client stands in the middle of a frame, for longer
// than it may, and lets it go on: the client was not silent.
func TestStoppedProcess(t *testing.T) {
	change := func(c *Config) { c.FrameTimeout, c.AwayTimeout = time.Second, time.Second }
	if os.Getenv(stoppedChild) != "" {
		s := newWorld(t, change).streams(TCP)
		s.control.set(func(src Source, msg []byte) {
			src.MarkAuthenticated()
			if src.Relay() == nil {
				if _, err := s.Open(src, OpenOptions{Family: 4}); err != nil {
					return
				}
			}
			src.Send(msg)
		})
		fmt.Println("LISTENING", s.addr)
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStoppedProcess$", "-test.v")
	cmd.Env = append(os.Environ(), stoppedChild+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = in.Close()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	addr := ""
	for addr == "" && lines.Scan() {
		addr, _ = strings.CutPrefix(lines.Text(), "LISTENING ")
		if !strings.HasPrefix(lines.Text(), "LISTENING ") {
			addr = ""
		}
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sc := &streamClient{TB: t, Conn: c}
	msg := binding()
	sc.put(msg)
	sc.expect(msg)
	sc.put(msg[:10])
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // it may look at its clients before the rest comes
	sc.put(msg[10:])
	sc.expect(msg)
	sc.put(msg)
	sc.expect(msg)
}

// TestPatience has the defaults give a client with a relay the time that ICE gives (RFC 7675), and one that asks with
// STUN alone the time that coturn gives.
func TestPatience(t *testing.T) {
	w := newWorld(t)
	if w.cfg.AwayTimeout < 30*time.Second || w.cfg.AuthTimeout < time.Minute || w.cfg.IdleTimeout < time.Minute {
		t.Errorf("away %s, strangers %s, idle %s", w.cfg.AwayTimeout, w.cfg.AuthTimeout, w.cfg.IdleTimeout)
	}
}
