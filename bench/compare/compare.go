package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

// comparison runs the chosen rows on all servers.
type comparison struct {
	ours     servers.Ours
	peer     servers.Kind
	floor    floor
	ethernet servers.Network
	dir      string // for the servers' folders
	secret   string
	pace     pace
	rows     []row
	start    bool // measure our start-up too
	progress io.Writer
	count    int // servers started so far
}

// record keeps what was measured, by row, figure and server.
type record map[[3]string]sample

func (r record) add(row, figure, server string, v float64) {
	key := [3]string{row, figure, server}
	r[key] = append(r[key], v)
}

// measure runs every row on the servers in turn, as often as asked, and our start-up. The order alternates, so that none
// always comes first.
func (c *comparison) measure(ctx context.Context) (record, error) {
	got := make(record)
	for n := range c.pace.repeat {
		for _, r := range c.rows {
			for _, k := range c.kinds(r, n) {
				if err := c.compared(ctx, got, n, r, k); err != nil {
					return nil, fmt.Errorf("%s on %s: %w", r.key, k.Name(), err)
				}
			}
		}
		if c.start {
			if err := c.started(ctx, got, n); err != nil {
				return nil, err
			}
		}
	}
	return got, nil
}

// connect makes the network that rows across an interface need. Where that cannot be, it says so and drops them. The
// caller calls remove.
func (c *comparison) connect(ctx context.Context) (remove func() error, err error) {
	remove = func() error { return nil }
	across := func(r row) bool { return r.across }
	if !slices.ContainsFunc(c.rows, across) {
		return remove, nil
	}
	n, removeNetwork, err := servers.Ethernet(ctx)
	if err == nil {
		c.ethernet = n
		if err := c.offloads(ctx); err != nil {
			return remove, errors.Join(err, removeNetwork())
		}
		return removeNetwork, nil
	}
	if ctx.Err() != nil {
		return remove, err
	}
	c.say("note: nothing is measured across an interface: %v", err)
	if c.rows = slices.DeleteFunc(c.rows, across); len(c.rows) == 0 && !c.start {
		return remove, errors.New("no row is left")
	}
	return remove, nil
}

// offloads drops the rows of the kernel where it does not relay, and says why.
func (c *comparison) offloads(ctx context.Context) error {
	of := func(r row) bool { return r.kernel }
	if !slices.ContainsFunc(c.rows, of) {
		return nil
	}
	dir, err := c.folder()
	if err != nil {
		return err
	}
	s, err := servers.Start(ctx, c.kernel(), c.ethernet, dir, c.secret)
	if err == nil {
		s.Stop()
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	c.say("note: relaying in the kernel is not measured: %v", err)
	if c.rows = slices.DeleteFunc(c.rows, of); len(c.rows) == 0 && !c.start {
		return errors.New("no row is left")
	}
	return nil
}

// kinds are the servers for a row, in the order of repetition n.
func (c *comparison) kinds(r row, n int) []servers.Kind {
	kinds := []servers.Kind{c.peer, c.ours}
	if r.floor > 0 {
		kinds = append(kinds, floor{c.floor.path, r.floor})
	}
	if r.kernel {
		kinds = append(kinds, c.kernel(), reflector{c.floor})
	}
	if n%2 == 1 {
		slices.Reverse(kinds)
	}
	return kinds
}

// compared measures one row on one server.
func (c *comparison) compared(ctx context.Context, got record, n int, r row, k servers.Kind) error {
	res, err := c.one(ctx, k, r)
	if err != nil {
		return err
	}
	var said []string
	for _, f := range r.figures {
		if _, back := k.(reflector); back && f.key == latencyKey {
			continue // of half the way
		}
		v := f.of(res)
		got.add(r.key, f.key, k.Name(), v)
		said = append(said, number(v, f.digits)+" "+f.unit)
	}
	c.say("%d/%d %-21s %-12s %s", n+1, c.pace.repeat, r.key, k.Name(), strings.Join(said, ", ")+remark(res))
	return nil
}

// started measures our start-up.
func (c *comparison) started(ctx context.Context, got record, n int) error {
	dir, err := c.folder()
	if err != nil {
		return err
	}
	values, err := startUp(ctx, c.ours, dir)
	if err != nil {
		return err
	}
	var said []string
	for _, f := range startFigures() {
		got.add(startRow, f.key, c.ours.Name(), values[f.key])
		said = append(said, number(values[f.key], f.digits)+" "+f.unit)
	}
	c.say("%d/%d %-21s %-12s %s", n+1, c.pace.repeat, startRow, c.ours.Name(), strings.Join(said, ", "))
	return nil
}

// kernel is our server with relaying in the kernel.
func (c *comparison) kernel() servers.Ours {
	k := c.ours
	k.Kernel = true
	return k
}

// inKernel are the outcomes with relaying in the kernel.
func (c *comparison) inKernel(got record) (all []outcome) {
	for _, r := range c.rows {
		for _, f := range r.figures {
			if !r.kernel {
				break
			}
			of := func(k servers.Kind) sample { return got[[3]string{r.key, f.key, k.Name()}] }
			all = append(all, outcome{
				figure: f, row: r.key, grid: r.grid, ours: of(c.kernel()), peer: of(c.peer), floor: of(reflector{}), sockets: of(c.ours),
			})
		}
	}
	return all
}

// outcomes are those over loopback, or those across the interface, without relaying in the kernel.
func (c *comparison) outcomes(got record, across bool) (all []outcome) {
	for _, r := range c.rows {
		for _, f := range r.figures {
			if r.across != across || r.kernel {
				break
			}
			of := func(k servers.Kind) sample { return got[[3]string{r.key, f.key, k.Name()}] }
			all = append(all, outcome{figure: f, row: r.key, ours: of(c.ours), peer: of(c.peer), floor: of(c.floor)})
		}
	}
	if !c.start || across {
		return all
	}
	for _, f := range startFigures() {
		all = append(all, outcome{figure: f, ours: got[[3]string{startRow, f.key, c.ours.Name()}]})
	}
	return all
}

// remark names what makes a measurement doubtful.
func remark(r *load.Result) (s string) {
	if p := r.Process; p != nil && p.Kernel > 0 {
		s = fmt.Sprintf(" (%.2f of the process, %.2f beyond)", p.CPU, p.Beyond)
	}
	if r.Direction != load.Setup && r.Rate > 0 {
		if r.Loss > 0.01 {
			s += fmt.Sprintf(", lost %.1f %%", r.Loss*100)
		}
		if r.Behind {
			s += ", the generator fell behind"
		}
	}
	return s
}

// one starts a server, puts one load on it, and stops it.
func (c *comparison) one(ctx context.Context, k servers.Kind, r row) (*load.Result, error) {
	dir, err := c.folder()
	if err != nil {
		return nil, err
	}
	n := servers.Loopback
	if r.across {
		n = c.ethernet
	}
	s, err := servers.Start(ctx, k, n, dir, c.secret)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	debug.FreeOSMemory() // the last run's buffers are not collected in the midst of this one
	l := r.load
	l.Server, l.Secret, l.PID = s.Of(l.Transport), c.secret, s.Cmd.Process.Pid
	if r.hosts {
		l.Hosts = n.Hosts
	}
	if r.kernel {
		l.Threads, l.Beyond = n.Threads, n.Beyond
	}
	if l.Direction != load.Setup {
		l.Duration, l.Warmup = c.pace.duration, c.pace.warmup
	}
	switch k := k.(type) {
	case reflector:
		if l.Direction == load.Echo {
			l.Rate *= 2 // an echo crosses the server twice
		}
		l.Direction = load.Back
	case servers.Ours:
		if k.Kernel {
			if err := c.prove(ctx, s); err != nil {
				return nil, err
			}
			l.Warmup = max(l.Warmup, movedIn)
		}
	}
	res, err := load.Run(ctx, l)
	if err != nil {
		select {
		case <-s.Ended:
			return nil, fmt.Errorf("%w; the server has ended: %s", err, s.Output)
		default:
			return nil, err
		}
	}
	return res, nil
}

// folder makes the next server's own folder.
func (c *comparison) folder() (string, error) {
	c.count++
	dir := filepath.Join(c.dir, fmt.Sprintf("server-%d", c.count))
	return dir, os.Mkdir(dir, 0o700)
}

func (c *comparison) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.progress, format+"\n", args...)
}

// chosen keeps the rows whose key contains one of the words, and reports whether our start-up is among them. Without words
// they are those of the kernel, or all others.
func chosen(words string, kernel bool) (picked []row, start bool, err error) {
	all := rows()
	if words == "" {
		return slices.DeleteFunc(all, func(r row) bool { return r.kernel != kernel }), !kernel, nil
	}
	want := strings.Split(words, ",")
	match := func(key string) bool {
		for _, w := range want {
			if w = strings.TrimSpace(w); w != "" && strings.Contains(key, w) {
				return true
			}
		}
		return false
	}
	keys := make([]string, 0, len(all)+1)
	for _, r := range all {
		keys = append(keys, r.key)
		if match(r.key) {
			picked = append(picked, r)
		}
	}
	start = match(startRow)
	if len(picked) == 0 && !start {
		return nil, false, fmt.Errorf("no row matches %q: there are %s", words, strings.Join(append(keys, startRow), ", "))
	}
	return picked, start, nil
}
