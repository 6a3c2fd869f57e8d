package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
)

// What is said of the fleet's Redis.
const (
	slowRedis   = 100 * time.Millisecond // an exchange, the quickest of three
	redisAhead  = 30 * time.Second
	mostMachine = 50 // machines of a fleet that are tried
)

// fleetRedis looks at the Redis that machines share.
func (l *local) fleetRedis(ctx context.Context) []Finding {
	if l.FleetRedis == "" {
		return nil
	}
	var n notes
	client, err := redisurl.Open(l.FleetRedis)
	if err != nil {
		n.add(Fail, "fleet redis", "fleet.redis_url: "+err.Error(), "correct it")
		return n
	}
	defer client.Close()
	step, cancel := context.WithTimeout(ctx, l.cfg.Patience)
	defer cancel()
	took, offset, err := l.ping(step, client)
	if err != nil {
		n.add(Fail, "fleet redis", "the fleet's Redis (fleet.redis_url) cannot be used: "+lastOf(err),
			"bring it back, or see that this machine may reach it; calls go on meanwhile, and bans hold where they are made")
		return n
	}
	if took > slowRedis {
		n.add(Warn, "fleet redis", fmt.Sprintf("the fleet's Redis takes %s to answer", took.Round(time.Millisecond)), "look at its load, and at the way to it")
	}
	if offset.Abs() > redisAhead {
		n.add(Warn, "fleet redis", fmt.Sprintf("the clock of the fleet's Redis is %s from this machine's", offset.Abs().Round(time.Second)),
			"check both (timedatectl): credentials and bans end by the clocks of machines")
	}
	l.redisInfo(step, client, &n)
	if !slices.ContainsFunc(n, func(f Finding) bool { return f.Status != OK }) {
		n.add(OK, "fleet redis", fmt.Sprintf("the fleet's Redis answers within %s", took.Round(10*time.Microsecond)), "")
	}
	return n
}

// ping returns how long the quickest of three exchanges took, and how far the clock of Redis is ahead.
func (l *local) ping(ctx context.Context, client redis.UniversalClient) (took, offset time.Duration, err error) {
	for i := range 3 {
		began := time.Now()
		at, err := client.Time(ctx).Result()
		var refused redis.Error
		if errors.As(err, &refused) && strings.HasPrefix(refused.Error(), "NOPERM") {
			at, err = time.Now(), client.Ping(ctx).Err()
		}
		if err != nil {
			return 0, 0, err
		}
		if spent := time.Since(began); i == 0 || spent < took {
			took, offset = spent, at.Sub(began.Add(spent/2))
		}
	}
	return took, offset, nil
}

// redisInfo looks at what Redis says of its memory and its disk.
func (l *local) redisInfo(ctx context.Context, client redis.UniversalClient, n *notes) {
	said := map[string]string{}
	for _, section := range []string{"memory", "persistence"} {
		text, err := client.Info(ctx, section).Result()
		if err != nil {
			n.add(OK, "fleet redis", "how much memory the fleet's Redis has, and whether it evicts keys, cannot be seen: it does not answer INFO ("+lastOf(err)+")", "")
			return
		}
		for line := range strings.Lines(text) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				said[key] = value
			}
		}
	}
	if policy := said["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		n.add(Warn, "fleet redis", "the fleet's Redis evicts keys when its memory is full (maxmemory-policy "+policy+"): machines and locks of ids would vanish",
			"set maxmemory-policy noeviction")
	}
	used, _ := strconv.ParseFloat(said["used_memory"], 64)
	if most, _ := strconv.ParseFloat(said["maxmemory"], 64); most > 0 && used > 0.8*most {
		n.add(Warn, "fleet redis", fmt.Sprintf("the fleet's Redis has used %.0f %% of its maxmemory", 100*used/most), "raise maxmemory, or see what else is kept there")
	}
	if status := said["rdb_last_bgsave_status"]; status != "" && status != "ok" {
		n.add(Warn, "fleet redis", "the fleet's Redis cannot write its disk, and refuses all writes where stop-writes-on-bgsave-error is on",
			"make room on its disk, or turn saving off: each machine has all bans on its own")
	}
}

// machines looks at the machines of the fleet as the server knows them, and returns a URL to try of each that should serve, with the
// credential of one of the targets.
func (l *local) machines(ctx context.Context, targets []Target) (more []Target, n notes) {
	if l.FleetRedis == "" || l.Admin == nil || l.status == nil {
		return nil, nil
	}
	step, cancel := context.WithTimeout(ctx, 2*l.cfg.Patience)
	defer cancel()
	f, err := l.Admin.Fleet(step)
	if err != nil {
		n.add(Warn, "fleet", "which machines there are cannot be asked: "+lastOf(err), "restart the server with the configuration that doctor has")
		return nil, n
	}
	with := slices.IndexFunc(targets, func(t Target) bool { return t.Username != "" })
	tried := func(m adminapi.Machine) bool {
		return slices.ContainsFunc(targets, func(t Target) bool { return slices.Contains(m.URLs, t.URL) && strings.HasPrefix(t.URL, "turn") })
	}
	for _, m := range f.Machines {
		switch {
		case m.Here || m.State == "left":
		case m.State != "up":
			n.add(Warn, "fleet", fmt.Sprintf("the machine %q is %s: it was not tried", m.Name, m.State), "crolang-aio fleet says more; docs/fleet.md has what each state means")
		case with < 0 || !m.Takes || tried(m) || len(more) == mostMachine:
		default:
			if i := slices.IndexFunc(m.URLs, func(u string) bool { return strings.HasPrefix(u, "turn") }); i >= 0 {
				more = append(more, Target{m.URLs[i], targets[with].Username, targets[with].Password})
			}
		}
	}
	n.add(OK, "fleet", fmt.Sprintf("%s in the fleet, as this one knows it", plural.Of(len(f.Machines), "machine")), "")
	return more, n
}
