package redisurl

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestChecker(t *testing.T) {
	for text, ok := range map[string]bool{
		"+OK\r\n:1\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n":                                                   true,
		"*2\r\n*1\r\n$1\r\nx\r\n-ERR no\r\n+OK\r\n":                                                                    true,
		"%1\r\n+k\r\n,1.5\r\n_\r\n#t\r\n(12345678901234567890\r\n=5\r\ntxt:a\r\n!3\r\nERR\r\n~1\r\n:1\r\n>1\r\n+x\r\n": true,
		fmt.Sprintf("$%d\r\n", maxBulk):                                                                                true,
		fmt.Sprintf("$%d\r\n", maxBulk+1):                                                                              false,
		fmt.Sprintf("*%d\r\n", maxElements):                                                                            true,
		fmt.Sprintf("*%d\r\n", maxElements+1):                                                                          false,
		fmt.Sprintf("%%%d\r\n", maxElements):                                                                           false,
		"$9223372036854775800\r\n":                                                                                     false, "*9223372036854775800\r\n": false, "%9223372036854775800\r\n": false,
		"!9223372036854775800\r\n": false, "=9223372036854775800\r\n": false, "~9223372036854775800\r\n": false,
		">9223372036854775800\r\n": false, "|9223372036854775800\r\n": false, "|0\r\n": false, "|1\r\n": false,
		"$99999999999999999999999\r\n": false, "$-2\r\n": false, "*-2\r\n": false, "%-1\r\n": false, "$--1\r\n": false, "$1-\r\n": false,
		"$\r\n": false, "$+1\r\n": false, "$-\r\n": false, "$?\r\n": false, "*1\n": false, "$1\rx": false, "$1\r\r\n": false, "+OK\n": false,
		"$1\r\nxy": false, "$1\r\nx\n": false, "hello": false, "\r\n": false,
		strings.Repeat("*1\r\n", maxDepth):     true,
		strings.Repeat("*1\r\n", maxDepth+1):   false,
		"-" + strings.Repeat("x", maxLine+1):   false,
		":" + strings.Repeat("1", maxNumber+1): false,
		// each is small, all together are not
		"*1000\r\n" + strings.Repeat("*1000\r\n"+strings.Repeat(":1\r\n", 1000), maxElements/1000):        false,
		"*6\r\n" + strings.Repeat(fmt.Sprintf("$%d\r\n%s\r\n", maxBulk, strings.Repeat("x", maxBulk)), 6): false,
		strings.Repeat(fmt.Sprintf("$%d\r\n%s\r\n", maxBulk, strings.Repeat("x", maxBulk)), 6):            true,
	} {
		var whole, split checker
		err := whole.pass([]byte(text))
		if (err == nil) != ok {
			t.Errorf("%.60q: %v", text, err)
		}
		if len(text) > 1<<20 {
			continue
		}
		var bytewise error
		for i := 0; i < len(text) && bytewise == nil; i++ {
			bytewise = split.pass([]byte{text[i]})
		}
		if (bytewise == nil) != ok {
			t.Errorf("%.60q byte by byte: %v", text, bytewise)
		}
	}
}

// hostile answers every command as a Redis would, and the one that is called name with text.
func hostile(t *testing.T, ln net.Listener, name, text string) {
	t.Cleanup(func() { ln.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		for r := bufio.NewReader(conn); ; {
			var words []string
			var n int
			if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
				return
			}
			for range n {
				var size int
				if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
					return
				}
				word := make([]byte, size+2)
				if _, err := io.ReadFull(r, word); err != nil {
					return
				}
				words = append(words, string(word[:size]))
			}
			answer := "+OK\r\n"
			if strings.EqualFold(words[0], name) {
				answer = text
			} else if strings.EqualFold(words[0], "hello") {
				answer = "-ERR unknown command\r\n"
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
}

// Lengths for which the library would make room, and end the process, are an error: over TCP, TLS and a unix socket, to
// whoever asks, subscribes, or looks for a master.
func TestHostileLengths(t *testing.T) {
	cert, roots := certificate(t)
	ctx := context.Background()
	transports := map[string]func(t *testing.T) (net.Listener, *location){
		"tcp": func(t *testing.T) (net.Listener, *location) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			return ln, &location{network: "tcp", addrs: []string{ln.Addr().String()}}
		},
		"tls": func(t *testing.T) (net.Listener, *location) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}),
				&location{network: "tcp", addrs: []string{ln.Addr().String()}, tls: true, roots: roots}
		},
		"unix": func(t *testing.T) (net.Listener, *location) {
			path := filepath.Join(t.TempDir(), "s")
			return listen(t, "unix", path), &location{network: "unix", addrs: []string{path}}
		},
	}
	asks := map[string]func(c redis.UniversalClient) error{
		"GET":        func(c redis.UniversalClient) error { return c.Get(ctx, "k").Err() },
		"HGETALL":    func(c redis.UniversalClient) error { return c.HGetAll(ctx, "k").Err() },
		"XRANGE":     func(c redis.UniversalClient) error { return c.XRange(ctx, "k", "-", "+").Err() },
		"EVALSHA":    func(c redis.UniversalClient) error { return c.EvalSha(ctx, "x", []string{"k"}).Err() },
		"SUBSCRIBE":  func(c redis.UniversalClient) error { return receive(c.Subscribe(ctx, "k")) },
		"PSUBSCRIBE": func(c redis.UniversalClient) error { return receive(c.PSubscribe(ctx, "k*")) },
	}
	for transport, make := range transports {
		for name, ask := range asks {
			for _, kind := range []string{"$", "*", "%", "!", "=", ">", "|"} {
				t.Run(transport+" "+name+" "+kind, func(t *testing.T) {
					ln, at := make(t)
					hostile(t, ln, name, kind+"9223372036854775800\r\n")
					c := redis.NewClient(at.single())
					defer c.Close()
					if err := c.Echo(ctx, "x").Err(); err != nil {
						t.Fatal(err)
					}
					if err := ask(c); !errors.Is(err, errReply) {
						t.Errorf("%v", err)
					}
				})
			}
		}
	}
	for _, name := range []string{"sentinel", "subscribe", "get"} {
		t.Run("sentinel "+name, func(t *testing.T) {
			master, sentinel := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
			host, port, _ := net.SplitHostPort(master.Addr().String())
			bad := "$9223372036854775800\r\n"
			if name == "get" {
				hostile(t, sentinel, "sentinel", fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port))
				hostile(t, master, "get", bad)
			} else {
				hostile(t, sentinel, name, bad)
				hostile(t, master, "none", "")
			}
			at := &location{network: "tcp", addrs: []string{sentinel.Addr().String()}, master: "m"}
			c := redis.NewFailoverClient(at.failover())
			defer c.Close()
			if err := c.Get(ctx, "k").Err(); err == nil {
				t.Error("no error")
			}
		})
	}
}

func receive(sub *redis.PubSub) error {
	defer sub.Close()
	_, err := sub.ReceiveTimeout(context.Background(), 10*time.Second)
	return err
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// certificate is one for 127.0.0.1, and what trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// Whatever a server sends, in whatever pieces: no length passes for which there would be no room, and the pieces make no
// difference.
func FuzzChecker(f *testing.F) {
	for _, s := range []string{"*2\r\n$1\r\nx\r\n:1\r\n", "%1\r\n+k\r\n_\r\n", "$9223372036854775800\r\n", "*1\r\n*1\r\n*-1\r\n", "$-1\r\n-ERR\r\n"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, p []byte, at uint8) {
		var whole, split checker
		err := whole.pass(p)
		cut := min(int(at), len(p))
		other := split.pass(p[:cut])
		if other == nil {
			other = split.pass(p[cut:])
		}
		if (err == nil) != (other == nil) {
			t.Fatalf("%q: %v, cut at %d: %v", p, err, cut, other)
		}
		if err != nil {
			return
		}
		// What the library would read as the length of the first reply is one that there is room for.
		head, _, found := strings.Cut(string(p), "\r\n")
		if found && strings.ContainsRune("$*%~>!=|", rune(head[0])) {
			if n, err := strconv.Atoi(head[1:]); err != nil || n > maxBulk {
				t.Fatalf("%q passed", head)
			}
		}
	})
}

func BenchmarkChecker(b *testing.B) {
	text := []byte(strings.Repeat("*2\r\n$1000\r\n"+strings.Repeat("x", 1000)+"\r\n$20\r\n"+strings.Repeat("y", 20)+"\r\n", 30))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var c checker
	for b.Loop() {
		if err := c.pass(text); err != nil {
			b.Fatal(err)
		}
	}
}
