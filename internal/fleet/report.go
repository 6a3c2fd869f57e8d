package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// redisState is how Redis was when it was last asked.
type redisState struct {
	fault   string        // in words; empty: it does what it should
	failed  int           // beats in a row
	refuses bool          // it answers, and keeps nothing
	said    State         // of this machine, when it last was
	disk    error         // of fleet.json
	latency time.Duration // of the last heartbeat that was answered
}

// redisWas takes note of how a beat went, and how long it took. heard: this machine was heard, and hears the others.
func (f *Fleet) redisWas(err error, heard, refuses bool, took time.Duration) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.state
	s.refuses = heard && refuses
	if heard {
		f.counts.Beats++
		s.latency = took
		if !f.beaten.IsZero() { // while Redis was away nobody was silent
			f.clock += min(now.Sub(f.beaten), 2*f.cfg.beat)
		}
	}
	f.beaten = now
	if err == nil {
		s.fault, s.failed = "", 0
		return
	}
	s.fault = why(err)
	s.failed++
}

// why says in words that stay the same what is wrong with Redis.
func why(err error) string {
	var answered redis.Error
	var op *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &answered):
		text := answered.Error()
		return "it answers " + text[:min(len(text), 200)]
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer in time"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// report says what is wrong with the fleet.
func (f *Fleet) report() { f.cfg.Found(f.findings()) }

func (f *Fleet) findings() (all []findings.Finding) {
	machines := f.Machines()
	f.mu.Lock()
	s, unshared := f.state, len(f.unshared)
	f.mu.Unlock()
	if s.failed > 1 {
		detail := "the fleet's Redis (fleet.redis_url) cannot be used: " + s.fault
		if unshared > 0 {
			detail += fmt.Sprintf("; bans and liftings of bans that wait for it: %d", unshared)
		}
		all = append(all, findings.Finding{
			ID: "fleet.redis", Detail: detail,
			Remedy: "all else goes on; bring it back, with room and as a master",
		})
	}
	if s.disk != nil {
		all = append(all, findings.Finding{
			ID: "fleet.unkept", Detail: "fleet.json is behind, so that a restart may bring bans back that were lifted: " + s.disk.Error(),
			Remedy: "free or repair the disk of data_dir; it is written as soon as that is possible",
		})
	}
	var gone []string
	for _, m := range machines {
		id := "fleet.machine." + m.Name
		switch {
		case m.Here:
			continue
		case m.State == Strange:
			all = append(all, findings.Finding{
				ID: id, Detail: fmt.Sprintf("the machine %q has another credentials.secret: neither its bans nor its URLs are used here", m.Name),
				Remedy: "give all machines the same credentials.secret, or this one's in credentials.previous_secrets there and theirs here",
			})
			continue
		case m.State == Silent:
			gone = append(gone, m.Name)
			continue
		case m.State == Left:
			continue
		}
		if len(m.Differs) > 0 {
			all = append(all, findings.Finding{
				ID: id, Detail: fmt.Sprintf("the machine %q has another %s than this one", m.Name, strings.Join(m.Differs, ", ")),
				Remedy: "give all machines of a fleet the same configuration",
			})
		}
		if m.Skew.Abs() > sayClock {
			all = append(all, findings.Finding{
				ID: "fleet.clock." + m.Name, Detail: fmt.Sprintf("the clock of the machine %q is %s from this one's", m.Name, m.Skew.Abs().Round(10*time.Second)),
				Remedy: "check both clocks (timedatectl): credentials and bans end by them",
			})
		}
		if m.Name == f.cfg.Name {
			all = append(all, findings.Finding{
				ID: "fleet.name", Detail: fmt.Sprintf("another machine is called %q too", m.Name), Remedy: "give each its own fleet.name",
			})
		}
	}
	if len(gone) > 0 {
		slices.Sort(gone)
		all = append(all, findings.Finding{
			ID: "fleet.silent", Detail: "nothing is heard any more of " + strings.Join(gone, ", ") + ": Nodes are sent to the other machines",
			Remedy: "look at that machine, and at its way to Redis; a machine that is gone for good is forgotten after 10 minutes",
		})
	}
	return all
}

// Health is how this machine gets on with Redis.
type Health struct {
	Fault    string        // what is wrong, in words; empty: nothing
	Unshared int           // bans, and liftings of bans, that wait for it
	Bans     int           // records of bans
	Lifted   int           // and of bans that were lifted
	Latency  time.Duration // of the last heartbeat
}

// Health returns it.
func (f *Fleet) Health() Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Health{Fault: f.state.fault, Unshared: len(f.unshared), Bans: f.set.Len() - f.set.Lifted(), Lifted: f.set.Lifted(), Latency: f.state.latency}
}
