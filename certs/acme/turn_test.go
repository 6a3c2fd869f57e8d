package acme

import (
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// A machine that does not reach the others asks the CA by itself only where its certificate is near its end, or where it has had
// none for a while.
func TestAlone(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		left, away time.Duration
		want       bool
	}{
		"certmagic would renew":    {left: 29 * day, away: 100 * day},
		"there is a sixth left":    {left: 16 * day, away: 100 * day},
		"less than a twelfth":      {left: 7 * day, away: time.Second, want: true},
		"it has ended":             {left: -day, away: 11 * time.Minute, want: true},
		"it has ended a while ago": {left: -day, away: time.Minute},
		"none, and away for long":  {away: 11 * time.Minute, want: true},
		"none":                     {away: 9 * time.Minute},
	} {
		for range 20 { // each machine has its own moment
			now := time.Now()
			c := &Client{cfg: Config{Settings: Settings{Domains: []string{"a"}}, Pace: Pace{Retry: time.Minute}}}
			c.fleet = newMates(&issuer{}, c.cfg)
			c.fleet.barred["a"] = now.Add(-tt.away)
			all := []Certificate{}
			if tt.left != 0 {
				all = append(all, Certificate{Domain: "a", leaf: &x509.Certificate{NotBefore: now.Add(tt.left - 90*day), NotAfter: now.Add(tt.left)}})
			}
			c.certs.Store(&all)
			if got := c.turn("a").alone(aloneAfter); got != tt.want {
				t.Errorf("%s: %v", name, got)
			}
			if held := c.turn("a").alone(heldAlone); held != (tt.want && tt.left > 0) {
				t.Errorf("%s, and another has the lock: %v", name, held)
			}
		}
	}
}

func questionAbout(domain, token, answer string) []byte {
	b, _ := json.Marshal(question{"boot", acme.Challenge{Type: TLSALPN01, Token: token, KeyAuthorization: answer, Identifier: acme.Identifier{Type: "dns", Value: domain}}})
	return b
}

func TestReadQuestion(t *testing.T) {
	for name, tt := range map[string]struct {
		b  []byte
		ok bool
	}{
		"one":              {questionAbout("a.example", "tok-EN_1", "tok-EN_1.thumb"), true},
		"another name":     {questionAbout("b.example", "token", "token.thumb"), false},
		"a path":           {questionAbout("a.example", "../token", "../token.thumb"), false},
		"another token":    {questionAbout("a.example", "token", "other.thumb"), false},
		"a long one":       {questionAbout("a.example", strings.Repeat("x", maxToken+1), strings.Repeat("x", maxToken+1)+".y"), false},
		"more than one":    {questionAbout("a.example", "token", "token.thumb\r\nx"), false},
		"no thumb":         {questionAbout("a.example", "token", "token."), false},
		"something else":   {[]byte("[]"), false},
		"far too much":     {make([]byte, maxQuestion+1), false},
		"nothing":          {nil, false},
		"nothing but text": {[]byte("x"), false},
	} {
		if _, ok := readQuestion("a.example", tt.b); ok != tt.ok {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// What another machine was told counts here too, within bounds, and is forgotten with it.
func TestLedgersMeet(t *testing.T) {
	one, two := openLedger(newStore(t.TempDir()), "ca", time.Minute), openLedger(newStore(t.TempDir()), "ca", time.Minute)
	f := newFailure(CauseUnproven, nil, "do it", "the CA says no")
	for range 2 {
		one.failed("a", f, 2)
	}
	two.meet("a", one.said("a"))
	if at, why := two.next("a"); time.Until(at) < 25*time.Minute || why.What != f.What || two.names["a"].fails != 2 {
		t.Errorf("%s, %v", time.Until(at), why)
	}
	if two.said("a") != nil {
		t.Error("it says itself what another was told")
	}
	two.meet("a", one.said("a"))
	if n := len(two.names["a"].Checks); n != 4 {
		t.Errorf("%d checks", n)
	}
	two.meet("a", nil)
	if at, why := two.next("a"); !at.IsZero() || why != nil {
		t.Errorf("it is not forgotten: %s %v", at, why)
	}
	one.meet("a", nil)
	if at, _ := one.next("a"); at.IsZero() {
		t.Error("its own failure is forgotten")
	}
	b, _ := json.Marshal(said{entry{Until: time.Now().Add(10 * longestLimit), What: "x\ny"}, 1 << 30, time.Now().Add(100 * 24 * time.Hour)})
	two.meet("b", b)
	if at, why := two.next("b"); time.Until(at) > longestLimit || why.What != "x y" {
		t.Errorf("%s, %q", at, why.What)
	}
	at := two.failed("b", f, 1)
	if time.Until(at) > 7*time.Hour {
		t.Errorf("it waits until %s", at)
	}
	one.failed("c", newFailure(CauseAway, nil, "x", "y"), 0)
	if one.said("c") != nil {
		t.Error("what may be this machine's own fault is shared")
	}
	two.meet("d", []byte("rubbish"))
	if _, why := two.next("d"); why != nil {
		t.Error(why)
	}
}

func FuzzShared(f *testing.F) {
	f.Add(questionAbout("a.example", "token", "token.thumb"))
	f.Add([]byte(`{"checks":["2026-01-01T00:00:00Z"],"next":"2026-01-01T00:00:00Z","fails":-5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, ok := readQuestion("a.example", b); ok && strings.ContainsAny(q.Challenge.KeyAuthorization, "\r\n/") {
			t.Errorf("%q", q.Challenge.KeyAuthorization)
		}
		l := openLedger(newStore(t.TempDir()), "ca", time.Minute)
		l.meet("a.example", b)
		if at, _ := l.next("a.example"); time.Until(at) > longestLimit {
			t.Errorf("it waits until %s", at)
		}
		l.failed("a.example", newFailure(CauseAway, nil, "x", "y"), 0)
		certificate("a.example", "file", b)
	})
}
