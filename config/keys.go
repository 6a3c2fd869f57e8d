package config

import (
	"log/slog"
	"time"
)

// Tables lists every table with its keys, in the order of the documentation. The slice is the caller's.
func Tables() []Table {
	tables := []Table{
		{Keys: []Key{
			definePath("data_dir", "data", notEmpty, func(c *Config) *string { return &c.DataDir },
				"Folder for what serve generates and keeps: secrets, certificates, bans. Only one process at a time can use it. "+
					"This path, like every other one here, is relative to the folder of this file.").example(`"/var/lib/crolang-aio"`).restart(),
			define("drain_timeout", "5s", span(0, 0), func(c *Config) *time.Duration { return &c.DrainTimeout },
				"How long to wait for live allocations to end at shutdown. \"0s\": not at all. "+
					"A duration is a number with a unit, such as \"90s\", \"10m\" or \"1h30m\", or a number of days such as \"365d\"."),
		}},
		logTable(),
		{Name: "public", Doc: "What clients are told about this server.", Keys: []Key{
			define("public.host", "auto", text(publicHost), func(c *Config) *string { return &c.Public.Host },
				"Name or address in the URLs of the RTC configuration. auto: the address of each listener, or public.ipv4.").
				example(`"turn.example.org"`),
			define("public.ipv4", "auto", text(family("IPv4", is4)), func(c *Config) *string { return &c.Public.IPv4 },
				"IPv4 address at which relays are reached; behind NAT, the public one. auto: the address of the default route, "+
					"or 127.0.0.1 without one. off: no IPv4 relays.").example(`"192.0.2.10"`),
			define("public.ipv6", "auto", text(family("IPv6", is6)), func(c *Config) *string { return &c.Public.IPv6 },
				"The same for IPv6. auto: used if this machine has a global address. off: no IPv6 relays.").example(`"2001:db8::10"`),
			define("public.stun", none(), atMost(16, distinct(text(stunURL))), func(c *Config) *[]string { return &c.Public.STUN },
				"STUN servers elsewhere, asked at the start and every minute which IPv4 address they see for this machine. "+
					"Behind NAT, if public.ipv4 is auto, clients are given that address. A change is noticed; live "+
					"allocations keep theirs.").example(`["stun:stun.example.org:3478"]`),
		}},
	}
	tables = append(tables, turnTables()...)
	tables = append(tables, credentialsTable())
	tables = append(tables, hooksTables()...)
	tables = append(tables, brokerTables()...)
	return append(tables, certsTable(), acmeTable(), httpsTable(), redisTable(), adminTable(), usageTable())
}

func logTable() Table {
	return Table{Name: "log", Keys: []Key{
		define("log.level", "info", level(), func(c *Config) *slog.Level { return &c.Log.Level }, "debug, info, warn or error."),
		define("log.format", "auto", oneOf("auto", "text", "json"), func(c *Config) *string { return &c.Log.Format },
			"text, json, or auto: text for a terminal and JSON elsewhere."),
		definePath("log.file", "", anything, func(c *Config) *string { return &c.Log.File },
			"File to keep the log in, where nothing else keeps it. Empty: it goes to standard error, as journald and Docker want it.").
			example(`"/var/log/crolang-aio/log.json"`).restart(),
		define("log.file_size", "64MiB", wholeMiB(), func(c *Config) *int64 { return &c.Log.Size },
			"Size at which log.file is renamed, with the time in its name, and a new one begun: a number of MiB.").restart(),
		define("log.file_age", "30d", span(0, 0), func(c *Config) *time.Duration { return &c.Log.Age },
			"How long renamed ones are kept, in whole days. \"0s\": for good.").restart(),
		define("log.file_count", 16, number[int](0, 10_000), func(c *Config) *int { return &c.Log.Files },
			"How many renamed ones are kept. 0: all.").restart(),
	}}
}

func usageTable() Table {
	return Table{Name: "usage", Doc: "What is kept of what Nodes use, by Node and month: see `crolang-aio usage`.", Keys: []Key{
		define("usage.keep", "400d", span(0, 0), func(c *Config) *time.Duration { return &c.Usage.Keep },
			"How long a month is kept after its end. \"0s\": only the present month is kept, which the limits need."),
	}}
}

func credentialsTable() Table {
	return Table{Name: "credentials", Doc: "The time-limited TURN credentials that Nodes are given.", Keys: []Key{
		define("credentials.secret", "", secret(anything), func(c *Config) *Secret { return &c.Credentials.Secret },
			"Secret that passwords are derived from: 32 random characters or more. Empty: the first serve makes one and keeps it in data_dir."),
		define("credentials.previous_secrets", none(), list(secret(notEmpty)), func(c *Config) *[]Secret { return &c.Credentials.PreviousSecrets },
			"Earlier secrets. No new passwords are made with them, but existing ones are still accepted. "+
				"In a file named by a variable: one per line."),
		define("credentials.ttl", "12h", span(time.Second, 0), func(c *Config) *time.Duration { return &c.Credentials.TTL },
			"How long a credential can be used to open new allocations."),
		define("credentials.while_connected", true, boolean(), func(c *Config) *bool { return &c.Credentials.WhileConnected },
			"Let an expired credential open new allocations as long as a Broker reports its Node as connected: "+
				"a Node is given its credential only once."),
		define("credentials.max_session", "24h", span(time.Second, 0), func(c *Config) *time.Duration { return &c.Credentials.MaxSession },
			"How long one allocation may live, however often it is refreshed."),
		define("credentials.strict_expiry", false, boolean(), func(c *Config) *bool { return &c.Credentials.StrictExpiry },
			"End every allocation when its credential ends. while_connected has no effect then."),
	}}
}

func certsTable() Table {
	return Table{Name: "certs", Doc: "The certificate for TLS and DTLS.", Keys: []Key{
		defineFile("certs.cert_file", func(c *Config) *string { return &c.Certs.CertFile },
			"Certificate chain in PEM, read again when it changes. If this and key_file are empty, a self-signed certificate is made in "+
				"data_dir and renewed. Browsers refuse it.").example(`"/etc/ssl/turn.example.org.pem"`),
		defineFile("certs.key_file", func(c *Config) *string { return &c.Certs.KeyFile }, "Its private key in PEM."),
		define("certs.hosts", none(), list(text(certHost)), func(c *Config) *[]string { return &c.Certs.Hosts },
			"Names and addresses in the self-signed certificate, besides localhost, public.host and this machine's own addresses.").
			example(`["turn.example.org", "192.0.2.10"]`),
		define("certs.validity", "365d", span(time.Second, 0), func(c *Config) *time.Duration { return &c.Certs.Validity },
			"How long the self-signed certificate is valid."),
		define("certs.renew_before", "30d", span(0, 0), func(c *Config) *time.Duration { return &c.Certs.RenewBefore },
			"How long before it expires it is replaced."),
	}}
}

func redisTable() Table {
	return Table{Name: "redis", Doc: "A Redis in this process, for development: it keeps nothing across a restart.", Keys: []Key{
		define("redis.enabled", false, boolean(), func(c *Config) *bool { return &c.Redis.Enabled }, "Whether to start it.").restart(),
		define("redis.listen", "127.0.0.1:6379", address(), func(c *Config) *string { return &c.Redis.Listen }, "Where it listens.").restart(),
		define("redis.password", "", secret(visible), func(c *Config) *Secret { return &c.Redis.Password },
			"Password that clients need. Empty: none on loopback; on any other address one is generated and kept in data_dir.").restart(),
	}}
}

func adminTable() Table {
	return Table{Name: "admin", Doc: "The admin listener: API, dashboard, /metrics, /healthz, /readyz.", Keys: []Key{
		define("admin.listen", "127.0.0.1:8084", address(), func(c *Config) *string { return &c.Admin.Listen }, "Where it listens.").restart(),
		define("admin.tls", false, boolean(), func(c *Config) *bool { return &c.Admin.TLS },
			"Whether it speaks HTTPS, with the certificate that TURN clients get ([certs]), in place of plain HTTP.").restart(),
		define("admin.token", "", secret(visible), func(c *Config) *Secret { return &c.Admin.Token },
			"Token that requests must carry. Empty: none on loopback; on any other address one is generated and kept in data_dir."),
		define("admin.allow_no_token", false, boolean(), func(c *Config) *bool { return &c.Admin.AllowNoToken },
			"Require no token, wherever it listens: whoever reaches it can then ban Nodes."),
		define("admin.read_token", "", secret(visible), func(c *Config) *Secret { return &c.Admin.ReadToken },
			"Read-only token, for Prometheus and the like. It has an effect only if admin.token is required."),
		define("admin.hosts", none(), list(text(certainHost)), func(c *Config) *[]string { return &c.Admin.Hosts },
			"Further names and addresses under which a browser may reach it, such as that of a proxy in front. Loopback, public.host and "+
				"this machine's own addresses are always accepted, and requests with the token may use any.").example(`["turn-admin.example.org"]`),
		define("admin.path", "/", text(urlPath), func(c *Config) *string { return &c.Admin.Path },
			"Path below which a proxy in front serves it. Paths without it work too, so the proxy may strip it.").
			example(`"/turn/"`),
	}}
}
