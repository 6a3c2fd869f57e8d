package redis_test

import (
	"maps"
	"testing"
	"time"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// TestRefusalsHaveCauses refuses something for each, and looks whether that one alone has been counted.
func TestRefusalsHaveCauses(t *testing.T) {
	s := start(t, embedded.Config{
		Password: "p", MaxConns: 4, MaxUnauthenticated: 2, MaxMemory: 2000, AuthTimeout: time.Minute, CommandTimeout: 50 * time.Millisecond,
	})
	seen := map[string]uint64{}
	count := func(cause string) {
		t.Helper()
		seen[cause]++
		eventually(t, cause+" is counted", func() bool {
			st := s.Stats()
			maps.Copy(st.Refused, st.RefusedCommands)
			maps.DeleteFunc(st.Refused, func(_ string, n uint64) bool { return n == 0 })
			return maps.Equal(st.Refused, seen)
		})
	}
	known := dial(t, s)
	known.want("OK", "AUTH", "p")
	known.wantError("ERR", "MULTI")
	count("unknown")
	known.want("OK", "SET", "a", "v")
	known.wantError("OOM", "SET", "b", string(make([]byte, 3000)))
	count("memory")

	first := dial(t, s)
	first.wantError("NOAUTH", "PING")
	count("password")
	second := dial(t, s)
	second.wantError("WRONGPASS", "AUTH", "guess")
	count("password")
	third := dial(t, s)
	first.wantClosed()
	count("displaced")
	third.raw("hello\r\n")
	third.wantClosed()
	count("malformed")
	second.want("OK", "AUTH", "p")
	second.raw("*2\r\n$4\r\nECHO\r\n$100\r\nab")
	second.wantClosed()
	count("slow")
	eventually(t, "their places are free", func() bool { return s.Clients() == 1 })
	for range 3 {
		r := dial(t, s)
		r.want("OK", "AUTH", "p")
	}
	dial(t, s).wantClosed()
	count("full")
}
