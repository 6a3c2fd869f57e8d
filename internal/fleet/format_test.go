package fleet

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

var record = flag.String("record", "", "write what this release puts into Redis to testdata/format1/NAME.json, once per release")

// recorded is what a release has put into Redis, sealed with "the secret of the recording".
type recorded struct {
	Machines, Bans, Who map[string]string
	Log                 []string
	News                []string // that who is there, and a ban
}

const recordedSecret = "the secret of the recording"

// What earlier releases of this format have put into Redis is read as it was meant, also with fields that this one does not know.
func TestFormatOfEarlierReleases(t *testing.T) {
	if *record != "" {
		recordFormat(t)
	}
	files, err := filepath.Glob("testdata/format1/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var r recorded
			data, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(data, &r)
			}
			if err != nil {
				t.Fatal(err)
			}
			// The clock is that of the recording, so that it is not too old.
			b := start(t, redisAt(redistest.Serve(t)), "now", "", secrets(recordedSecret), recordedClock)
			for key, all := range map[string]map[string]string{machinesKey: r.Machines, bansKey: r.Bans, whoKey: r.Who} {
				for field, value := range all {
					b.client.HSet(t.Context(), key, field, value)
				}
			}
			b.until("it listens", func() bool { return b.client.PubSubNumSub(t.Context(), newsChannel).Val()[newsChannel] == 1 })
			for _, text := range r.News {
				b.client.Publish(t.Context(), newsChannel, text)
			}
			b.until("the machine is there", func() bool { return b.state("recorded") == Up })
			b.client.Del(t.Context(), generationKey) // so that it compares all
			b.until("bans hold", func() bool { return b.reg.Banned("eve") && b.reg.Banned("in the news") })
			b.until("a Node counts as connected", func() bool { return b.Connected("alice") })
			b.until("the lifting is known", func() bool { return b.Health().Lifted == 1 })
			if b.reg.Banned("lifted") {
				t.Error("a ban came back")
			}
			if c := b.Counts(); c.Forged+c.Malformed+c.Strangers > 0 {
				t.Errorf("%+v", c)
			}
			for _, m := range b.Machines() {
				if m.Name == "recorded" && (m.Region != "eu" || len(m.TURN) != 2 || m.Ports != 100 || len(m.Differs) > 0) {
					t.Errorf("%+v", m)
				}
			}
		})
	}
}

func recordedClock(c *Config) {
	began := time.Now()
	c.Now = func() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC).Add(time.Since(began)) }
}

// recordFormat writes what this release puts into Redis, and in its heartbeat, bans and lists, a field of the future.
func recordFormat(t *testing.T) {
	b := start(t, redisAt(redistest.Serve(t)), "recorded", "", secrets(recordedSecret), recordedClock, func(c *Config) { c.Region = "eu" })
	ring := b.ring.Load()
	b.mu.Lock()
	b.here = []string{"alice"}
	b.mu.Unlock()
	b.ban("eve")
	b.ban("lifted")
	b.unban("lifted")
	b.until("its list of Nodes is there", func() bool { return b.client.HLen(t.Context(), whoKey).Val() == 1 })
	future := func(purpose, sealed string) string {
		text, ok := b.open(purpose, sealed)
		if !ok {
			t.Fatal("not sealed")
		}
		return ring.Seal(purpose, append(text[:len(text)-1], `,"of_a_later_release":{"x":[1]}}`...))
	}
	r := recorded{Machines: b.client.HGetAll(t.Context(), machinesKey).Val(), Bans: b.client.HGetAll(t.Context(), bansKey).Val(), Who: b.client.HGetAll(t.Context(), whoKey).Val()}
	for _, m := range b.client.XRange(t.Context(), logKey, "-", "+").Val() {
		r.Log = append(r.Log, m.Values["e"].(string))
	}
	h := b.own()
	h.Seq, h.Who = b.seq.Load()+1000, 1 // newer than that in the hash
	beat := future(forMachine, sealed(t, b, h))
	n := news{From: "somebody", Records: []json.RawMessage{[]byte(`{"kind":"ban","node":"in the news","since":"2026-11-26T12:00:00Z","of_a_later_release":1}`)}}
	r.News = []string{
		future(forNews, news{From: b.boot, Beat: beat}.seal(ring)), future(forNews, n.seal(ring)),
	}
	for boot := range r.Machines {
		r.Machines[boot] = future(forMachine, r.Machines[boot])
	}
	for id := range r.Bans {
		r.Bans[id] = future(forBans, r.Bans[id])
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join("testdata/format1", *record+".json"), append(text, '\n'), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
