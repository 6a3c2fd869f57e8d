package policy

import (
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TestSpellings compares ids that are spelt in different ways with what the operator and the issuer wrote.
func TestSpellings(t *testing.T) {
	const composed, spelt = "Zo\u00eb b", "Zoe\u0308\u00a0b"
	for _, names := range [][2]string{{composed, spelt}, {spelt, composed}} {
		token, line := newToken(t, names[0])
		p := run(t, Config{
			Authenticate: Authenticate{Mode: ModeTokens, Tokens: []string{line, argonLine(strings.Replace(names[0], " b", "*", 1), "slow", 64)}},
			Authorize: Authorize{Mode: ModeRules, Rules: []Rule{{From: "@them", To: "*", Action: ModeAllow}, {From: "x", To: names[0], Action: ModeAllow}},
				Groups: map[string][]string{"them": {names[0][:2] + "*b"}}},
		})
		for _, given := range []string{token, "slow"} {
			if ok, cause := admit(t, p, names[1], given); !ok {
				t.Errorf("%q as %q with %.4s: %s", names[0], names[1], given, cause)
			}
		}
		for _, pair := range [][2]string{{names[1], "anybody"}, {"x", names[1]}} {
			if ok, cause := authorize(t, p, pair[0], pair[1], nil); !ok {
				t.Errorf("%q: %s", pair, cause)
			}
		}
		now := newClock()
		p = run(t, Config{Now: now.Now, Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{Secret: jwtSecret}}})
		signed := sign(t, jwt.SigningMethodHS256, []byte(jwtSecret), "", jwt.MapClaims{"sub": names[0], "exp": now.Now().Unix() + 60})
		if ok, cause := admit(t, p, names[1], signed); !ok {
			t.Errorf("%q as %q: %s", names[0], names[1], cause)
		}
		now.add(2 * 60 * 1e9)
		if got := invalid(t, p, names[0]); len(got) != 1 {
			t.Errorf("%q: the end of its token is not known: %v", names[0], got)
		}
	}
}
