// Attack does to this repository's TURN server and to coturn, in the same run on loopback, what strangers can do to them,
// has honest clients come meanwhile, and prints who got in. It needs Linux and Go; coturn's turnserver and openssl take
// part if they are installed. It takes about two minutes.
//
//	go run ./bench/attack
//	go run ./bench/attack -only hellos -seconds 30
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) == 2 && os.Args[1] == workerWord {
		err = work(ctx, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	length       time.Duration
	only         string
	binary, peer string
}

const (
	shortest = 6 * time.Second
	longest  = 5 * time.Minute
)

func parse(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("attack", flag.ContinueOnError)
	fs.SetOutput(stderr)
	seconds := fs.Int("seconds", 10, "length of each attack")
	fs.StringVar(&o.only, "only", "", "only attacks whose name contains this `word`")
	fs.StringVar(&o.binary, "binary", "", "crolang-aio `program` to attack; default: built from this repository")
	fs.StringVar(&o.peer, "coturn", "turnserver", "coturn `program` to compare with; it is left out if it is not there")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.length = time.Duration(*seconds) * time.Second
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.length < shortest || o.length > longest:
		return o, fmt.Errorf("-seconds %d: %g to %g", *seconds, shortest.Seconds(), longest.Seconds())
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "crolang-aio-attack-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	us, err := servers.Build(ctx, dir, o.binary)
	if err != nil {
		return err
	}
	kinds := []servers.Kind{us}
	if path, err := exec.LookPath(o.peer); err == nil {
		kinds = append(kinds, servers.Coturn{Path: path})
	} else {
		_, _ = fmt.Fprintln(stderr, "note: coturn is not installed (Debian: apt install coturn), so it is left out")
	}
	var secret [24]byte
	_, _ = rand.Read(secret[:])
	var all []row
	for _, s := range scenarios() {
		if !strings.Contains(s.name, o.only) {
			continue
		}
		for i, k := range kinds {
			sub := filepath.Join(dir, fmt.Sprintf("%s-%d", s.name, i))
			if err := os.Mkdir(sub, 0o700); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(stderr, "%s on %s ...\n", s.name, k.Name())
			r, err := s.on(ctx, k, sub, hex.EncodeToString(secret[:]), o.length)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", s.name, k.Name(), err)
			}
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("no attack is named like %q", o.only)
	}
	for i, k := range kinds {
		_, _ = fmt.Fprintf(stdout, "%s %s%s", k.Name(), k.Version(ctx), map[bool]string{true: "\n\n", false: ", "}[i == len(kinds)-1])
	}
	return table(stdout, all)
}
