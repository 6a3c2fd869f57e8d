package config

import (
	"slices"
	"testing"
)

func TestKeep(t *testing.T) {
	read := func(text string) *Config {
		c, err := Load(write(t, t.TempDir(), "x.toml", text), WithEnviron(nil))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := read("data_dir = '/x'\ndrain_timeout = '1s'\n[turn]\nlisten = [':1']\nrealm = 'a'\n[redis]\npassword = 'b'")
	next := read("data_dir = '/x'\ndrain_timeout = '2s'\n[turn]\nlisten = [':2']\nrealm = 'c'\n[redis]\npassword = 'd'\n[hooks]\ntoken = 'e'")
	c, stays := Keep(old, next)
	if want := []string{"turn.realm", "turn.listen", "redis.password"}; !slices.Equal(stays, want) {
		t.Errorf("%q stay, want %q", stays, want)
	}
	if got, want := Changed(old, c), []string{"drain_timeout", "hooks.token"}; !slices.Equal(got, want) {
		t.Errorf("%q change, want %q", got, want)
	}
	if next.Turn.Realm != "c" || c.Turn.Realm != "a" || !c.Redis.Password.Equal("b") || !c.Hooks.Token.Equal("e") {
		t.Errorf("%+v", c)
	}
}

// The numbers below a table are those of its keys, and durations and texts are none.
func TestCounts(t *testing.T) {
	c, err := Load("", WithEnviron([]string{"CROLANG_AIO_TURN_LIMITS_BITS_PER_SECOND=5"}))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Counts("turn.limits")
	if got["turn.limits.bits_per_second"] != 5 || got["turn.limits.allocations_per_node"] != 128 || got["turn.limits.allocations"] != 0 {
		t.Errorf("%v", got)
	}
	if _, ok := got["turn.limits.allocation_lifetime"]; ok || len(got) < 5 {
		t.Errorf("%v", got)
	}
}
