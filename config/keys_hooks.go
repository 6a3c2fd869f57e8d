package config

import "time"

func hooksTables() []Table {
	return []Table{hooksTable(), rtcTable(), authenticateTable(), jwtTable(), authorizeTable(), groupsTable(), messagesTable(), upstreamTable()}
}

func hooksTable() Table {
	return Table{Name: "hooks", Doc: "The webhooks that Brokers call.", Keys: []Key{
		define("hooks.listen", "127.0.0.1:8083", address(), func(c *Config) *string { return &c.Hooks.Listen },
			"Where they listen. Brokers in containers or on other machines need an address other than loopback.").example(`"0.0.0.0:8083"`).restart(),
		define("hooks.token", "", secret(unreserved), func(c *Config) *Secret { return &c.Hooks.Token },
			"Token that calls must carry: letters, digits and -._~. Empty: none on loopback; on any other address one is generated and "+
				"kept in data_dir."),
		define("hooks.allow_no_token", false, boolean(), func(c *Config) *bool { return &c.Hooks.AllowNoToken },
			"Require no token, wherever they listen: for a network of Brokers only. Whoever reaches them is given credentials."),
		define("hooks.hosts", none(), list(text(certainHost)), func(c *Config) *[]string { return &c.Hooks.Hosts },
			"Further public DNS names under which Brokers may call if no token is required. Addresses, public.host and "+
				"names without a dot are always accepted.").example(`["hooks.example.org"]`),
		define("hooks.max_body", "16MiB", size(1<<10, 1<<30), func(c *Config) *int64 { return &c.Hooks.MaxBody },
			"Largest request: bytes, or a number with kB, MB, KiB, MiB or GiB. 100 000 Nodes take 3 MB."),
	}}
}

func rtcTable() Table {
	return Table{Name: "hooks.rtc", Doc: "The RTC configuration that every Node is given.", Keys: []Key{
		define("hooks.rtc.ice_transport_policy", "all", oneOf("all", "relay", "nohost", "none"),
			func(c *Config) *string { return &c.Hooks.RTC.ICETransportPolicy },
			"all, relay (only through this server), nohost (no addresses of the Node's own network) or none."),
		define("hooks.rtc.bundle_policy", "max-bundle", oneOf("max-bundle", "balanced", "max-compat"),
			func(c *Config) *string { return &c.Hooks.RTC.BundlePolicy }, "max-bundle, balanced or max-compat, as in WebRTC."),
		define("hooks.rtc.rtcp_mux_policy", "require", oneOf("require", "negotiate"),
			func(c *Config) *string { return &c.Hooks.RTC.RTCPMuxPolicy }, "require or negotiate, as in WebRTC."),
		define("hooks.rtc.ice_candidate_pool_size", 0, number[int](0, 255), func(c *Config) *int { return &c.Hooks.RTC.ICECandidatePoolSize },
			"Candidate sets gathered ahead of time, 0 to 255. Each set costs an allocation per URL."),
		define("hooks.rtc.advertise_tls", "auto", oneOf("auto", "always", "never"), func(c *Config) *string { return &c.Hooks.RTC.AdvertiseTLS },
			"Whether Nodes are given turns: URLs: always, never, or auto: only with a certificate that is not self-signed, since "+
				"browsers refuse those."),
		define("hooks.rtc.extra_ice_servers", none(), tableList(serverKind()), func(c *Config) *[]ICEServer { return &c.Hooks.RTC.ExtraICEServers },
			"Further servers that Nodes are given.").
			example(`[{urls = ["stun:stun.example.org:3478"]}, {urls = ["turn:turn.example.org"], username = "u", password = "p"}]`),
	}}
}

func authenticateTable() Table {
	return Table{Name: "hooks.authenticate", Doc: "Which Nodes may join. A banned Node never may.", Keys: []Key{
		define("hooks.authenticate.mode", "allow", oneOf("allow", "deny", "tokens", "jwt", "upstream"),
			func(c *Config) *string { return &c.Hooks.Authenticate.Mode },
			"allow: all. deny: none. tokens: those with a token from the list below. jwt: those with a JSON Web Token issued for their id. "+
				"upstream: those that your own webhook lets in."),
		define("hooks.authenticate.tokens", none(), list(text(notEmpty)), func(c *Config) *[]string { return &c.Hooks.Authenticate.Tokens },
			"Lines that `crolang-aio token new NODE` prints: a Node id, or a pattern with * and ?, and the hash of its token. They are not secret.").
			example(`["alice sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]`),
	}}
}

func jwtTable() Table {
	return Table{Name: "hooks.authenticate.jwt", Doc: "For mode jwt. Set one of secret, public_key_file, jwks_file and jwks_url.", Keys: []Key{
		define("hooks.authenticate.jwt.secret", "", secret(anything), func(c *Config) *Secret { return &c.Hooks.Authenticate.JWT.Secret },
			"Secret for tokens signed with HS256: 32 characters or more."),
		defineFile("hooks.authenticate.jwt.public_key_file", func(c *Config) *string { return &c.Hooks.Authenticate.JWT.PublicKeyFile },
			"Public key in PEM: RSA, ECDSA or Ed25519."),
		defineFile("hooks.authenticate.jwt.jwks_file", func(c *Config) *string { return &c.Hooks.Authenticate.JWT.JWKSFile },
			"JSON Web Key Set."),
		define("hooks.authenticate.jwt.jwks_url", "", text(webURL), func(c *Config) *string { return &c.Hooks.Authenticate.JWT.JWKSURL },
			"Where to fetch a JSON Web Key Set.").example(`"https://id.example.org/.well-known/jwks.json"`),
		define("hooks.authenticate.jwt.jwks_refresh", "1h", span(time.Second, 0),
			func(c *Config) *time.Duration { return &c.Hooks.Authenticate.JWT.JWKSRefresh }, "How often a key set is read or fetched again."),
		define("hooks.authenticate.jwt.claim", "sub", text(notEmpty), func(c *Config) *string { return &c.Hooks.Authenticate.JWT.Claim },
			"Claim that must equal the id of the Node."),
		define("hooks.authenticate.jwt.audience", "", text(anything), func(c *Config) *string { return &c.Hooks.Authenticate.JWT.Audience },
			"What the claim aud must contain. Empty: not checked."),
		define("hooks.authenticate.jwt.issuer", "", text(anything), func(c *Config) *string { return &c.Hooks.Authenticate.JWT.Issuer },
			"What the claim iss must be. Empty: not checked."),
		define("hooks.authenticate.jwt.leeway", "30s", span(0, 0), func(c *Config) *time.Duration { return &c.Hooks.Authenticate.JWT.Leeway },
			"By how much clocks may differ."),
	}}
}

func authorizeTable() Table {
	return Table{Name: "hooks.authorize", Doc: "Which Nodes may talk to each other.", Keys: []Key{
		define("hooks.authorize.mode", "allow", oneOf("allow", "deny", "rules", "upstream"),
			func(c *Config) *string { return &c.Hooks.Authorize.Mode },
			"allow: all. deny: none. rules: those below decide. upstream: your own webhook decides."),
		define("hooks.authorize.default", "deny", oneOf("allow", "deny"), func(c *Config) *string { return &c.Hooks.Authorize.Default },
			"What applies if no rule matches: allow or deny."),
		define("hooks.authorize.rules", none(), tableList(ruleKind()), func(c *Config) *[]Rule { return &c.Hooks.Authorize.Rules },
			"The first rule that matches decides. from and to are a Node id, a pattern with * and ?, or @ and the name of a group.").
			example(`[{from = "@admins", to = "*", action = "allow"}, {from = "sensor-*", to = "hub", action = "allow"}]`),
	}}
}

func groupsTable() Table {
	return Table{Name: "hooks.authorize.groups", Doc: "Groups of Nodes for the rules: a name, and Node ids or patterns.", Keys: []Key{
		define("hooks.authorize.groups", any(map[string]any{}), groupsKind(), func(c *Config) *map[string][]string { return &c.Hooks.Authorize.Groups },
			"Groups by name.").example(`{admins = ["alice", "ops-*"]}`),
	}}
}

func messagesTable() Table {
	return Table{Name: "hooks.messages", Doc: "What happens to the messages that Nodes exchange through a Broker.", Keys: []Key{
		define("hooks.messages.mode", "count", oneOf("count", "upstream"), func(c *Config) *string { return &c.Hooks.Messages.Mode },
			"count: they are counted. upstream: they are also forwarded to your own webhook."),
	}}
}

func upstreamTable() Table {
	at := func(name, doc string, field func(u *Upstream) *string) Key {
		return define("hooks.upstream."+name, "", text(webURL), func(c *Config) *string { return field(&c.Hooks.Upstream) }, doc)
	}
	return Table{Name: "hooks.upstream", Doc: "Your own webhooks, called with the Broker's requests.", Keys: []Key{
		at("authenticate_url", "Called if hooks.authenticate.mode is upstream.", func(u *Upstream) *string { return &u.AuthenticateURL }).
			example(`"https://hooks.example.org/authenticate"`),
		at("authorize_url", "Called if hooks.authorize.mode is upstream.", func(u *Upstream) *string { return &u.AuthorizeURL }),
		at("validity_url", "If set, asked in every mode which connected Nodes must be disconnected.", func(u *Upstream) *string { return &u.ValidityURL }),
		at("messages_url", "Receives messages if hooks.messages.mode is upstream.", func(u *Upstream) *string { return &u.MessagesURL }),
		define("hooks.upstream.token", "", secret(visible), func(c *Config) *Secret { return &c.Hooks.Upstream.Token },
			"Sent as Authorization: Bearer. Empty: none is sent."),
		define("hooks.upstream.timeout", "5s", span(time.Millisecond, 0), func(c *Config) *time.Duration { return &c.Hooks.Upstream.Timeout },
			"How long to wait for an answer."),
		define("hooks.upstream.max_in_flight", 64, number[int](1, 1<<20), func(c *Config) *int { return &c.Hooks.Upstream.MaxInFlight },
			"Calls in flight at most. Further ones fail without being made."),
		define("hooks.upstream.cache", "30s", span(0, 0), func(c *Config) *time.Duration { return &c.Hooks.Upstream.Cache },
			"How long an answer about two Nodes is reused. \"0s\": not at all."),
		define("hooks.upstream.fail_open", false, boolean(), func(c *Config) *bool { return &c.Hooks.Upstream.FailOpen },
			"Whether a failed call counts as a yes."),
		define("hooks.upstream.message_queue", 1024, number[int](1, 1<<20), func(c *Config) *int { return &c.Hooks.Upstream.MessageQueue },
			"Messages that may wait to be forwarded. Further ones are dropped and counted."),
		define("hooks.upstream.message_workers", 4, number[int](1, 256), func(c *Config) *int { return &c.Hooks.Upstream.MessageWorkers },
			"Messages in flight at most."),
	}}
}
