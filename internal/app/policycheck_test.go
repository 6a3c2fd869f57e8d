package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/config"
)

// What the policies find wrong stands at its line in the file, or at that of the mode that makes it a mistake.
func TestPolicyMistakesHaveLines(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"authenticate tokens none": {`
[hooks.authenticate]
mode = "tokens"
`, `
c.toml:2: hooks.authenticate.tokens: is empty, and hooks.authenticate.mode is "tokens": make a line with crolang-aio token new NODE
`},
		"jwt no key": {`
[hooks.authenticate]
mode = "jwt"
`, `
c.toml:2: hooks.authenticate.jwt: hooks.authenticate.mode is "jwt": set one of secret, public_key_file, jwks_file, jwks_url
`},
		"jwt two keys": {`
[hooks.authenticate.jwt]
secret = "hush-hush"
public_key_file = "key.pem"
jwks_url = "https://id.example.org"
`, `
c.toml:3: hooks.authenticate.jwt.public_key_file: is set, and hooks.authenticate.jwt.secret too: only one of them can be
c.toml:4: hooks.authenticate.jwt.jwks_url: is set, and hooks.authenticate.jwt.secret too: only one of them can be
`},
		"rules none": {`
[hooks.authorize]
mode = "rules"
`, `
c.toml:2: hooks.authorize.rules: is empty, and hooks.authorize.mode is "rules": write a rule, or set the mode to allow or deny
`},
		"rules shadowed": {`
[[hooks.authorize.rules]]
from = "alice"
to = "bob"
action = "allow"

[[hooks.authorize.rules]]
from = "alice"
to = "bob"
action = "deny"

[[hooks.authorize.rules]]
from = "*"
to = "hub"
action = "allow"

[[hooks.authorize.rules]]
from = "alice"
to = "hub"
action = "deny"

[[hooks.authorize.rules]]
from = "*"
to = "*"
action = "deny"

[[hooks.authorize.rules]]
from = "carol"
to = "dave"
action = "allow"
`, `
c.toml:6: hooks.authorize.rules: rule 2 can never match: rule 1 takes all that it would
c.toml:16: hooks.authorize.rules: rule 4 can never match: rule 3 takes all that it would
c.toml:26: hooks.authorize.rules: rule 6 can never match: rule 5 takes all that it would
`},
		"rules unknown group": {`
[hooks.authorize]
mode = "rules"
rules = [
  {from = "@admins", to = "*", action = "allow"},
  {from = "alice", to = "@admin", action = "allow"},
  {from = "@staff", to = "@staff", action = "allow"},
]
[hooks.authorize.groups]
admins = ["alice"]
`, `
c.toml:5: hooks.authorize.rules: rule 2: to: no group "@admin" in hooks.authorize.groups; did you mean "@admins"?
c.toml:6: hooks.authorize.rules: rule 3: from: no group "@staff" in hooks.authorize.groups
c.toml:6: hooks.authorize.rules: rule 3: to: no group "@staff" in hooks.authorize.groups
`},
		"upstream no url": {`
[hooks.authenticate]
mode = "upstream"
[hooks.authorize]
mode = "upstream"
[hooks.messages]
mode = "upstream"
`, `
c.toml:2: hooks.upstream.authenticate_url: is empty, and hooks.authenticate.mode is "upstream": set it, or choose another mode
c.toml:4: hooks.upstream.authorize_url: is empty, and hooks.authorize.mode is "upstream": set it, or choose another mode
c.toml:6: hooks.upstream.messages_url: is empty, and hooks.messages.mode is "upstream": set it, or choose another mode
`},
	} {
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, []byte(c.text[1:]), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(file, config.WithEnviron(nil), config.WithCheck(checkPolicy))
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+string(filepath.Separator), "") + "\n"; got != c.want[1:] {
			t.Errorf("%s: got\n%swant\n%s", name, got, c.want[1:])
		}
	}
}
