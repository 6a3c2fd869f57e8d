package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// write makes a file and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnviron(t *testing.T) {
	dir := t.TempDir()
	secret := write(t, dir, "secret", hush+"\r\n")
	several := write(t, dir, "several", "one, with a comma\n\ntwo\n")
	servers := write(t, dir, "servers", `[{urls = ["turn:a"], username = "u", password = "`+hush+`"}]`+"\n")
	for _, c := range []struct {
		line string
		get  func(c *Config) any
		want any
	}{
		{"DATA_DIR=/var/lib/x", func(c *Config) any { return c.DataDir }, "/var/lib/x"},
		{"DRAIN_TIMEOUT=2d", func(c *Config) any { return c.DrainTimeout }, 48 * time.Hour},
		{"LOG_FORMAT=json", func(c *Config) any { return c.Log.Format }, "json"},
		{"TURN_SOFTWARE=", func(c *Config) any { return c.Turn.Software }, ""},
		{"TURN_SOFTWARE=a=b", func(c *Config) any { return c.Turn.Software }, "a=b"},
		{"TURN_LISTEN=:1, 127.0.0.1:2 ,[::1]:3", func(c *Config) any { return c.Turn.Listen }, []string{":1", "127.0.0.1:2", "[::1]:3"}},
		{"TURN_LISTEN_TLS=", func(c *Config) any { return c.Turn.ListenTLS }, []string{}},
		{"TURN_TRANSPORTS=udp", func(c *Config) any { return c.Turn.Transports }, []string{"udp"}},
		{"TURN_RELAY_PORTS=1-2", func(c *Config) any { return c.Turn.RelayPorts }, PortRange{1, 2}},
		{"TURN_LIMITS_ALLOCATIONS=7", func(c *Config) any { return c.Turn.Limits.Allocations }, 7},
		{"TURN_LIMITS_BITS_PER_SECOND=10000000000", func(c *Config) any { return c.Turn.Limits.BitsPerSecond }, int64(1e10)},
		{"TURN_PEERS_DENY=recommended,10.0.0.0/8", func(c *Config) any { return c.Turn.Peers.Deny }, []string{"recommended", "10.0.0.0/8"}},
		{"CREDENTIALS_WHILE_CONNECTED=false", func(c *Config) any { return c.Credentials.WhileConnected }, false},
		{"CREDENTIALS_STRICT_EXPIRY=1", func(c *Config) any { return c.Credentials.StrictExpiry }, true},
		{"CREDENTIALS_SECRET=" + hush, func(c *Config) any { return c.Credentials.Secret.Reveal() }, hush},
		{"CREDENTIALS_SECRET=", func(c *Config) any { return c.Credentials.Secret.IsSet() }, false},
		{"CREDENTIALS_SECRET_FILE=" + secret, func(c *Config) any { return c.Credentials.Secret.Reveal() }, hush},
		{"CREDENTIALS_PREVIOUS_SECRETS=a,b", func(c *Config) any { return len(c.Credentials.PreviousSecrets) }, 2},
		{"CREDENTIALS_PREVIOUS_SECRETS_FILE=" + several, func(c *Config) any { return c.Credentials.PreviousSecrets[0].Reveal() }, "one, with a comma"},
		{"CREDENTIALS_PREVIOUS_SECRETS_FILE=" + several, func(c *Config) any { return c.Credentials.PreviousSecrets[1].Reveal() }, "two"},
		{"HOOKS_TOKEN_FILE=" + secret, func(c *Config) any { return c.Hooks.Token.Reveal() }, hush},
		{"HOOKS_MAX_BODY=2048", func(c *Config) any { return c.Hooks.MaxBody }, int64(2048)},
		{"HOOKS_MAX_BODY=3 MB", func(c *Config) any { return c.Hooks.MaxBody }, int64(3e6)},
		{"HOOKS_RTC_BUNDLE_POLICY=balanced", func(c *Config) any { return c.Hooks.RTC.BundlePolicy }, "balanced"},
		{"HOOKS_RTC_EXTRA_ICE_SERVERS_FILE=" + servers, func(c *Config) any { return c.Hooks.RTC.ExtraICEServers[0].Password.Reveal() }, hush},
		{`HOOKS_RTC_EXTRA_ICE_SERVERS=[{urls = ["stun:a:1"]}]`, func(c *Config) any { return c.Hooks.RTC.ExtraICEServers },
			[]ICEServer{{URLs: []string{"stun:a:1"}}}},
		{`HOOKS_AUTHORIZE_RULES=[{from = "a", to = "*", action = "deny"}]`, func(c *Config) any { return c.Hooks.Authorize.Rules },
			[]Rule{{"a", "*", "deny"}}},
		{`HOOKS_AUTHORIZE_GROUPS={ops = ["a", "b,c"]}`, func(c *Config) any { return c.Hooks.Authorize.Groups },
			map[string][]string{"ops": {"a", "b,c"}}},
		{`TURN_PUBLIC_PORTS={3478 = 13478}`, func(c *Config) any { return c.Turn.PublicPorts }, map[uint16]uint16{3478: 13478}},
		{"HOOKS_AUTHENTICATE_JWT_LEEWAY=0", func(c *Config) any { return c.Hooks.Authenticate.JWT.Leeway }, time.Duration(0)},
		{"REDIS_ENABLED=true", func(c *Config) any { return c.Redis.Enabled }, true},
	} {
		t.Run(c.line[:min(len(c.line), 40)], func(t *testing.T) {
			cfg, err := Load("", WithEnviron([]string{"HOME=/root", "noise", "CROLANG_AIO_" + c.line}))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.get(cfg); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %#v, want %#v", got, c.want)
			}
		})
	}
}

func TestEnvironMistakes(t *testing.T) {
	dir := t.TempDir()
	secret := write(t, dir, "secret", hush)
	binary := write(t, dir, "binary", hush+"\x00\xff")
	empty := write(t, dir, "empty", "\n")
	long := write(t, dir, "long", strings.Repeat("x", maxSecretFile+1))
	for _, c := range []struct {
		lines string // separated by ;
		want  string // with $ for CROLANG_AIO
	}{
		{"TURN_LIMITS_ALLOCATIONS=-1", "$_TURN_LIMITS_ALLOCATIONS: turn.limits.allocations: must not be negative"},
		{"TURN_LIMITS_ALLOCATIONS=", "$_TURN_LIMITS_ALLOCATIONS: turn.limits.allocations: must be a whole number"},
		{"REDIS_ENABLED=yes", "$_REDIS_ENABLED: redis.enabled: must be true or false"},
		{"TURN_LISTEN=:1,x", `$_TURN_LISTEN: turn.listen: entry 2: "x" must be ADDRESS:PORT, [IPV6-ADDRESS]:PORT or :PORT, the port being 0 to 65535`},
		{"HOOKS_AUTHORIZE_RULES=a to b", `$_HOOKS_AUTHORIZE_RULES: hooks.authorize.rules: must be written as in the file, such as ` +
			`[{from = "@admins", to = "*", action = "allow"}, {from = "sensor-*", to = "hub", action = "allow"}]`},
		{"HOOKS_AUTHORIZE_GROUPS={}\nx = 1", `$_HOOKS_AUTHORIZE_GROUPS: hooks.authorize.groups: must be written as in the file, such as ` +
			`{admins = ["alice", "ops-*"]}`},
		{"HOOKS_AUTHORIZE_RULES=" + strings.Repeat("[", 100), `$_HOOKS_AUTHORIZE_RULES: hooks.authorize.rules: must be written as in the file, such as ` +
			`[{from = "@admins", to = "*", action = "allow"}, {from = "sensor-*", to = "hub", action = "allow"}]`},
		{"HOOKS_TOKEN=hush/hush", "$_HOOKS_TOKEN: hooks.token: must be of letters, digits and -._~ only: the Broker's webhook URLs cannot carry others"},
		{"TURN_REALM=\xff", "$_TURN_REALM: turn.realm: must be a string"},
		{"HOOKS_TOKEN=hush;HOOKS_TOKEN_FILE=" + secret, "$_HOOKS_TOKEN_FILE: hooks.token: CROLANG_AIO_HOOKS_TOKEN is set too: only one of them can be"},
		// A file of Docker's --env-file is no shell: what it has round a value stays.
		{`TURN_REALM="example.org"`, "$_TURN_REALM: turn.realm: has quotes round it, which count as part of it: leave them out (Docker's --env-file and Kubernetes keep them)"},
		{`CREDENTIALS_SECRET='hush'`, "$_CREDENTIALS_SECRET: credentials.secret: has quotes round it, which count as part of it: leave them out (Docker's --env-file and Kubernetes keep them)"},
		{`TURN_LISTEN=":3478"`, "$_TURN_LISTEN: turn.listen: has quotes round it, which count as part of it: leave them out (Docker's --env-file and Kubernetes keep them)"},
		{`TURN_SOFTWARE=""`, "$_TURN_SOFTWARE: turn.software: has quotes round it, which count as part of it: leave them out (Docker's --env-file and Kubernetes keep them)"},
		{`HOOKS_TOKEN_FILE="` + secret + `"`, "$_HOOKS_TOKEN_FILE: hooks.token: has quotes round it, which count as part of it: leave them out (Docker's --env-file and Kubernetes keep them)"},
		{"TURN_LIMITS_ALLOCATIONS=7\r", "$_TURN_LIMITS_ALLOCATIONS: turn.limits.allocations: has a carriage return at its end: the file that it comes from has line ends of Windows (CRLF), save it with LF"},
		{"CREDENTIALS_SECRET=hush ", "$_CREDENTIALS_SECRET: credentials.secret: has blanks at its ends, which count as part of it: leave them out"},
		{"TURN_LIMITS_ALLOCATIONS= 7", "$_TURN_LIMITS_ALLOCATIONS: turn.limits.allocations: has blanks at its ends, which count as part of it: leave them out"},
		{"HOOKS_TOKEN_FILE=" + empty, "$_HOOKS_TOKEN_FILE: hooks.token: the file is empty: it must hold the secret"},
		{"HOOKS_TOKEN_FILE=", "$_HOOKS_TOKEN_FILE: hooks.token: is empty: it must name a file"},
		{"HOOKS_TOKEN_FILE=/hush-hush", "$_HOOKS_TOKEN_FILE: hooks.token: the file cannot be read: no such file or directory"},
		{"HOOKS_TOKEN_FILE=/", "$_HOOKS_TOKEN_FILE: hooks.token: the file cannot be read: is a directory"},
		{"HOOKS_TOKEN_FILE=" + long, "$_HOOKS_TOKEN_FILE: hooks.token: the file cannot be read: it is too large: is it the right file?"},
		{"CREDENTIALS_SECRET_FILE=" + binary, "$_CREDENTIALS_SECRET_FILE: credentials.secret: must be a string"},
		{"TURN_RELM=hush", "$_TURN_RELM: unknown variable; did you mean $_TURN_REALM?"},
		{"WEATHER=hush", "$_WEATHER: unknown variable"},
		{"HOOKS_PORT=8083", "$_HOOKS_PORT: unknown variable; did you mean $_HOOKS_HOSTS?"},
		{"TURN_REALM_FILE=" + secret, "$_TURN_REALM_FILE: unknown variable; did you mean $_TURN_REALM?"},
		{"CERTS_CERT_FILE=a", "$_CERTS_CERT_FILE: certs.key_file: is empty, and certs.cert_file is set: set both, or neither for a self-signed certificate"},
		{"X=1;DATA_DIR=;TURN_REALM=",
			"$_DATA_DIR: data_dir: must not be empty\n$_TURN_REALM: turn.realm: must not be empty\n$_X: unknown variable"},
	} {
		t.Run(c.lines[:min(len(c.lines), 40)], func(t *testing.T) {
			var environ []string
			for line := range strings.SplitSeq(c.lines, ";") {
				environ = append(environ, "CROLANG_AIO_"+line)
			}
			_, err := Load("", WithEnviron(environ))
			if err == nil {
				t.Fatal("taken")
			}
			if want := strings.ReplaceAll(c.want, "$", "CROLANG_AIO"); err.Error() != want {
				t.Errorf("got\n%s\nwant\n%s", err, want)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Error("shows a secret")
			}
		})
	}
}

// Kubernetes and Docker tell every container of its neighbours in variables that begin as ours do.
func TestEnvironOfOthers(t *testing.T) {
	environ := []string{
		"CROLANG_AIO_SERVICE_HOST=10.0.0.1", "CROLANG_AIO_SERVICE_PORT=8083", "CROLANG_AIO_SERVICE_PORT_HOOKS=8083",
		"CROLANG_AIO_PORT=tcp://10.0.0.1:8083", "CROLANG_AIO_PORT_8083_TCP=tcp://10.0.0.1:8083", "CROLANG_AIO_PORT_8083_TCP_PROTO=tcp",
		"CROLANG_AIO_PORT_3478_UDP_ADDR=10.0.0.1", "CROLANG_AIO_TURN_SERVICE_HOST=10.0.0.1", "CROLANG_AIO_TURN_PORT=udp://10.0.0.1:3478",
		"CROLANG_AIO_CONFIG=x.toml", "CROLANG_AIO_DOCTOR_PASSWORD=x", "CROLANG_AIOX=1", "crolang_aio_x=1",
	}
	if _, err := Load("", WithEnviron(environ)); err != nil {
		t.Error(err)
	}
}

// A path in a variable is relative to the same folder as one in the file.
func TestSecretFileBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secret", hush)
	c, err := Load(write(t, dir, "x.toml", ""), WithEnviron([]string{"CROLANG_AIO_HOOKS_TOKEN_FILE=secret"}))
	if err != nil || c.Hooks.Token.Reveal() != hush {
		t.Error(err)
	}
}

func TestEnvironIsTheProcesss(t *testing.T) {
	t.Setenv("CROLANG_AIO_TURN_REALM", "from-the-process")
	c, err := Load("")
	if err != nil || c.Turn.Realm != "from-the-process" {
		t.Errorf("%+v, %v", c, err)
	}
}

// Every file that takes part is named before it is read, whether it is there or not and whatever is wrong elsewhere.
func TestWithRead(t *testing.T) {
	dir := t.TempDir()
	var read []string
	file := write(t, dir, "x.toml", "turn.realm = 1\ncerts.cert_file = 'cert.pem'\ncerts.key_file = '/key.pem'\nhooks.authenticate.jwt.jwks_file = 'keys.json'")
	_, err := Load(file, WithRead(func(path string) { read = append(read, path) }),
		WithEnviron([]string{"CROLANG_AIO_HOOKS_TOKEN_FILE=token", "CROLANG_AIO_ADMIN_TOKEN_FILE=/nowhere"}))
	if err == nil {
		t.Fatal("taken")
	}
	want := []string{file, filepath.Join(dir, "token"), "/nowhere", filepath.Join(dir, "keys.json"), filepath.Join(dir, "cert.pem"), "/key.pem"}
	if !slices.Equal(read, want) {
		t.Errorf("%q, want %q", read, want)
	}
}
