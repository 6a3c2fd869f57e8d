// Turnload drives a TURN server with real allocations and channels, and says what it delivered and, where the server
// runs on this machine, what each datagram cost it. It is for sizing a server, any that speaks RFC 8656 with
// TURN REST or static long-term credentials.
//
//	go run ./bench/turnload -server turn.example.org:3478 -secret-file secret -rate 20000 -clients 50
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

const usage = `usage: turnload [flags]

Opens allocations on a TURN server, binds one channel in each to a peer socket on this machine, and sends datagrams
through them. Load only servers that are yours: this can take a host and its network down.

Credentials: the secret of TURN REST credentials (coturn: static-auth-secret; crolang-aio: data_dir/credentials.secret)
from -secret-file or the environment variable TURNLOAD_SECRET; or -username with the password in TURNLOAD_PASSWORD.

Latency, jitter and loss are of one way for up and down, and of the round for echo. With -pid the server's CPU is given
per datagram delivered and crossing of the server; an echo crosses it twice. The generator wants CPU too: on the
server's own machine it competes with it, and "generator" in the table says how much it took.

Exit codes: 0 done, 1 failed, 2 wrong usage.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	c, asJSON, err := parse(args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		complain(stderr, err)
		return 2
	}
	if !asJSON {
		c.Progress = func(s string) { fmt.Fprintln(stderr, s) }
	}
	res, err := load.Run(ctx, c)
	if ctx.Err() != nil {
		err = errors.New("interrupted; the allocations were given back")
	}
	if err != nil {
		complain(stderr, err)
		if errors.Is(err, load.ErrConfig) {
			return 2
		}
		return 1
	}
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = e.Encode(res)
	} else {
		_, err = io.WriteString(stdout, table(res))
	}
	if err != nil {
		complain(stderr, err)
		return 1
	}
	return 0
}

// complain prints one line for each thing that is wrong.
func complain(w io.Writer, err error) {
	if !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(w, "turnload: "+strings.ReplaceAll(err.Error(), "\n", "\nturnload: "))
	}
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (c load.Config, asJSON bool, err error) {
	fs := flag.NewFlagSet("turnload", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // an error is one line, by complain
	fs.StringVar(&c.Server, "server", "127.0.0.1:3478", "`host:port` of the TURN server")
	fs.StringVar(&c.Transport, "transport", "udp", "between client and server: udp, tcp or tls (the certificate is not checked)")
	secretFile := fs.String("secret-file", "", "`file` with the secret of the TURN REST credentials; else TURNLOAD_SECRET")
	fs.StringVar(&c.Username, "username", "", "static user name instead of a secret; its password in TURNLOAD_PASSWORD")
	fs.StringVar(&c.Direction, "direction", load.Up, "up (client to peer), down (peer to client), echo (both), back (peer to peer, without a relay), or setup (allocations only)")
	fs.IntVar(&c.Clients, "clients", 4, "allocations")
	fs.IntVar(&c.Size, "size", 1200, "payload `bytes` of a datagram")
	fs.IntVar(&c.Rate, "rate", 0, "datagrams per second of all clients together; 0: as fast as possible")
	fs.DurationVar(&c.Duration, "duration", 5*time.Second, "of the measurement; with -direction setup: how long the allocations are held")
	fs.DurationVar(&c.Warmup, "warmup", time.Second, "traffic before the measurement")
	fs.IntVar(&c.Batch, "batch", 32, "datagrams per system call of the generator, at most")
	fs.IntVar(&c.Burst, "burst", 0, "datagrams that a paced client sends at once; 0: as many as keep it at 500 wake-ups a second")
	fs.IntVar(&c.Senders, "senders", 0, "goroutines that send, each for its share of the clients in turn; 0: one for each client")
	fs.BoolVar(&c.Together, "together", false, "clients send at the same moments, in bursts, instead of evenly spread")
	fs.IntVar(&c.Dialers, "dialers", 4, "allocations that are opened at the same time")
	fs.StringVar(&c.Peer, "peer", "", "local `address` of the peers; default: the one that leads to the relays")
	fs.TextVar(&c.Hosts, "hosts", netip.Prefix{}, "IPv4 `network` of which this machine has all addresses (ip route add local 198.19.0.0/16 dev …): each client and peer is one, "+
		"and they share a socket for each sender, so that many cost their receivers no more than few; without: sockets of their own")
	fs.IntVar(&c.PID, "pid", 0, "the server's process, if it runs on this machine: accounts CPU and memory (Linux)")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fs.SetOutput(stderr)
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
		return c, false, err
	} else if err != nil {
		return c, false, fmt.Errorf("%w; turnload -help lists the flags", err)
	}
	if fs.NArg() > 0 {
		return c, false, fmt.Errorf("unexpected argument %q: everything is a flag; turnload -help lists them", fs.Arg(0))
	}
	return c, asJSON, credentials(&c, *secretFile, getenv)
}

func credentials(c *load.Config, secretFile string, getenv func(string) string) error {
	switch {
	case c.Username != "" && secretFile != "":
		return errors.New("both -username and -secret-file: give one")
	case c.Username != "":
		if c.Password = getenv("TURNLOAD_PASSWORD"); c.Password == "" {
			return errors.New("-username without a password: set TURNLOAD_PASSWORD")
		}
	case secretFile != "":
		b, err := os.ReadFile(secretFile)
		if err != nil {
			return fmt.Errorf("reading the secret: %w", err)
		}
		if c.Secret = strings.TrimSpace(string(b)); c.Secret == "" {
			return fmt.Errorf("no secret in %s", secretFile)
		}
	default:
		if c.Secret = getenv("TURNLOAD_SECRET"); c.Secret == "" {
			return errors.New("no credential: give -secret-file, or TURNLOAD_SECRET, or -username and TURNLOAD_PASSWORD")
		}
	}
	return nil
}
