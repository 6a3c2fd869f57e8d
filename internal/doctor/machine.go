package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// relayPorts checks that there are ports, and files, for more allocations.
func (l *local) relayPorts(ctx context.Context) []Finding {
	var n notes
	step, cancel := context.WithTimeout(ctx, 2*l.cfg.Patience)
	defer cancel()
	text, err := l.Admin.Metrics(step)
	if err != nil {
		n.add(Warn, "ports", "the server's metrics cannot be read: "+lastOf(err), "look at the server's log")
		return n
	}
	m := gauges(text)
	total, used := int(m["crolang_aio_turn_relay_ports"]), int(m["crolang_aio_turn_relay_ports_used"])
	free := total - used
	const remedy = "widen turn.relay_ports, or see who holds them: `crolang-aio allocations`"
	detail := fmt.Sprintf("%d of %d relay ports are free", free, total)
	switch {
	case free <= 0:
		n.add(Fail, "ports", detail, remedy)
	case free*10 < total:
		n.add(Warn, "ports", detail, remedy)
	default:
		n.add(OK, "ports", detail, "")
	}
	need := total
	if limit := int(l.status.Limits["turn.limits.allocations"]); limit > 0 {
		need = min(need, limit)
	}
	if files := int(m["process_max_fds"]); files > 0 && files < need+64 {
		n.add(Warn, "files", fmt.Sprintf("the server may open %d files; that is reached before its %d allocations are, which take one each, and a TCP client one more", files, need),
			"raise the limit: LimitNOFILE= in the unit, ulimits in the compose file, ulimit -n in a shell")
	}
	l.ephemeral(&n)
	return n
}

// gauges reads the metrics without labels.
func gauges(text string) map[string]float64 {
	out := make(map[string]float64)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			out[name] = v
		}
	}
	return out
}

// ephemeral checks whether other programs take relay ports for their outgoing connections. In a large range that does not
// matter, since a port that is taken is passed over.
func (l *local) ephemeral(n *notes) {
	low, high, ok := ephemeralPorts()
	if !ok || l.PortMax < l.PortMin {
		return
	}
	all := int(l.PortMax) - int(l.PortMin) + 1
	if all >= 1000 {
		return
	}
	shared, reserved := 0, reservedPorts()
	for port := int(l.PortMin); port <= int(l.PortMax); port++ {
		if port >= low && port <= high && !inPorts(reserved, port) {
			shared++
		}
	}
	if shared*2 > all {
		n.add(Warn, "ports", fmt.Sprintf("%d of the %d relay ports are among those that this machine gives to outgoing connections (%d to %d)", shared, all, low, high),
			fmt.Sprintf("keep them: sysctl net.ipv4.ip_local_reserved_ports=%d-%d", l.PortMin, l.PortMax))
	}
}

// redis asks the embedded Redis as a Broker does.
func (l *local) redis(ctx context.Context) []Finding {
	if l.Redis == "" {
		return nil
	}
	var n notes
	const remedy = "look at the server's log; restart the server after a change of [redis]"
	said, err := l.askRedis(ctx, l.RedisPassword)
	switch {
	case err != nil:
		n.add(Fail, "redis", "the embedded Redis at "+l.Redis+" does not answer: "+lastOf(err), remedy)
		return n
	case said != "+PONG":
		n.add(Fail, "redis", "the embedded Redis at "+l.Redis+" answers "+strconv.Quote(said), remedy)
		return n
	}
	if l.RedisPassword != "" {
		if said, err := l.askRedis(ctx, ""); err == nil && said == "+PONG" {
			n.add(Fail, "redis", "the embedded Redis answers without its password, too", remedy)
			return n
		}
	}
	n.add(OK, "redis", "the embedded Redis answers at "+l.Redis, "")
	return n
}

// askRedis sends PING, after AUTH if there is a password, and returns the last answer.
func (l *local) askRedis(ctx context.Context, password string) (said string, err error) {
	step, cancel := context.WithTimeout(ctx, l.cfg.Patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(step, "tcp", l.Redis)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if end, ok := step.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	defer context.AfterFunc(step, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	answers := bufio.NewReaderSize(conn, 512)
	commands := [][]string{{"PING"}}
	if password != "" {
		commands = [][]string{{"AUTH", password}, {"PING"}}
	}
	for _, words := range commands {
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
		if _, err := io.WriteString(conn, b.String()); err != nil {
			return "", err
		}
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if said = strings.TrimSpace(string(line)); strings.HasPrefix(said, "-") {
			return said, nil
		}
	}
	return said, nil
}

// files looks at data_dir: whose it is, who may read it, and whether there is room.
func (l *local) files(context.Context) []Finding {
	if l.DataDir == "" {
		return nil
	}
	var n notes
	st, err := os.Stat(l.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.status != nil: // a running server made or found one
		n.add(Fail, "data_dir", l.DataDir+" is not there, and the server runs",
			"give doctor the configuration that the server runs with; if that is this one, put the folder back from a backup: the next start makes new secrets, and has no bans")
		return n
	case errors.Is(err, fs.ErrNotExist):
		n.add(Fail, "data_dir", l.DataDir+" is not there", "start `crolang-aio serve` once, which makes it, or correct data_dir")
		return n
	case err != nil:
		n.add(Warn, "data_dir", fmt.Sprintf("%s cannot be looked at: %s", l.DataDir, lastOf(err)), "run doctor as the user that the server runs as")
		return n
	case !st.IsDir():
		n.add(Fail, "data_dir", l.DataDir+" is no folder", "correct data_dir")
		return n
	}
	if uid, foreign := foreignOwner(st); foreign {
		n.add(Warn, "data_dir", fmt.Sprintf("%s belongs to the user %d, and this one runs as another", l.DataDir, uid),
			"run doctor as the user that the server runs as; a server that runs as this one would not start (chown)")
	}
	if open := l.openFiles(st); len(open) > 0 {
		n.add(Fail, "data_dir", "others on this machine may read or change the secrets: "+strings.Join(open, ", "),
			fmt.Sprintf("chmod 700 %s && chmod 600 %s/*", l.DataDir, l.DataDir))
	}
	l.disk(&n)
	if len(n) == 0 {
		n.add(OK, "data_dir", l.DataDir+" is the server's alone, and has room", "")
	}
	return n
}

// openFiles are the folder and the files in it that others may read or write. If the folder is closed, so are its files.
func (l *local) openFiles(dir fs.FileInfo) (open []string) {
	const others = 0o077
	if dir.Mode().Perm()&others == 0 {
		return nil
	}
	open = append(open, fmt.Sprintf("%s (%04o)", l.DataDir, dir.Mode().Perm()))
	entries, err := os.ReadDir(l.DataDir)
	if err != nil {
		return open
	}
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&others != 0 {
			open = append(open, fmt.Sprintf("%s (%04o)", filepath.Join(l.DataDir, e.Name()), st.Mode().Perm()))
		}
	}
	return open
}

// disk checks that bans and certificates can be written.
func (l *local) disk(n *notes) {
	free, total, ok := diskFree(l.DataDir)
	const remedy = "make room: bans and certificates cannot be kept otherwise"
	const mega = 1 << 20
	detail := fmt.Sprintf("the disk of %s has %d MB of %d MB left", l.DataDir, free/mega, total/mega)
	switch {
	case !ok:
	case free < 4*mega:
		n.add(Fail, "disk", detail, remedy)
	case free < 256*mega && free < total/20:
		n.add(Warn, "disk", detail, remedy)
	}
}

// inPorts reads a list such as 8080,9000-9010.
func inPorts(list string, port int) bool {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil && low <= port && port <= high {
			return true
		}
	}
	return false
}
