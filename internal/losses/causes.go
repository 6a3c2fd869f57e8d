package losses

const (
	look   = "nothing, unless it is a client of yours: `crolang-aio why NODE`"
	report = "please report it, with the log line"
	flood  = "the server copes; a firewall can take the load off it"
)

// causes are those that have words of their own.
var causes = map[Area]map[string]Cause{
	Requests: {
		"server_full":      {"new allocations are refused: all of turn.limits.allocations are in use", "raise it, or see who holds them: `crolang-aio allocations`", 1},
		"node_full":        {"a Node is refused allocations: it has as many as turn.limits.allocations_per_node lets it", "raise it, or see which it is: `crolang-aio nodes`", 1},
		"server_bytes":     {"new allocations are refused: the month's turn.limits.bytes_per_month are used", "raise it, or see who used them: `crolang-aio usage`", 1},
		"node_bytes":       {"Nodes are refused allocations: they have used their turn.limits.bytes_per_month_per_node", "raise it, or see which they are: `crolang-aio usage`", 1},
		"no_port":          {"new allocations are refused: all of turn.relay_ports is taken", "widen the range, and the firewall with it", 1},
		"capacity":         {"new allocations are refused: the system refuses a socket", "raise the limit of open files: LimitNOFILE=, ulimits in the compose file, ulimit -n", 1},
		"engine":           {"a bug made the server answer a request wrongly", report, 1},
		"permissions":      {"an allocation has as many permissions as one may have", look, some},
		"channels":         {"an allocation has as many channels as one may have", look, some},
		"tables":           {"a Node is refused more allocations, permissions or channels: they take 16 MiB of memory", look, 1},
		"expired":          {"Nodes use credentials that have expired, and no Broker reports them as connected", "raise credentials.ttl, check the clock, and that Brokers call the validity webhook", some},
		"wrong_credential": {"clients use credentials made with another secret, or made up", "after a change of credentials.secret: put the previous one into credentials.previous_secrets", many},
		"banned":           {"a banned Node keeps trying", "nothing; `crolang-aio bans` lists them", many},
		"peer_denied":      {"clients ask for peers that the peer policy refuses", "normal for the private addresses of Nodes; turn.peers.allow lets some through", mass},
		"own_listener":     {"clients ask for a listener of this server as a peer", look, many},
		"stale_nonce":      {"clients use old nonces", "normal after a restart; a load balancer has to keep a client on one server", mass},
		"malformed":        {"clients send malformed requests", flood, mass},
	},
	Relays: {
		"server_bytes": {"all relays ended: the month's turn.limits.bytes_per_month are used", "raise it, or see who used them: `crolang-aio usage`", 1},
		"node_bytes":   {"relays of Nodes ended: they have used their turn.limits.bytes_per_month_per_node", "raise it, or see which they are: `crolang-aio usage`", 1},
	},
	Connections: {
		"over_share":      {"connections are refused: their address has as many as turn.limits.connections_per_ip lets it, or its share of all", "raise the limit if many Nodes are behind one address", 1},
		"full":            {"connections are refused: every place is taken by a client with an allocation", "raise the limit of open files, or add a server", 1},
		"displaced":       {"connections that have not authenticated give way to newer ones", flood, many},
		"silent":          {"connections end because their clients stop sending", flood, mass},
		"bad_handshake":   {"TLS or DTLS handshakes fail", "browsers refuse a self-signed certificate; see doctor", many},
		"unserved":        {"connections begin with bytes of an unknown protocol", flood, mass},
		"stale_cookies":   {"DTLS hellos carry a wrong or old cookie", flood, mass},
		"foreign_proxy":   {"connections begin with a PROXY protocol header, and come from no address of turn.proxy_protocol", "if it is your proxy, add its address there", some},
		"malformed_proxy": {"a proxy of turn.proxy_protocol sends headers that are none", "let it send PROXY protocol v1 or v2 of TCP", 1},
		"panicked":        {"a connection was ended by a bug in the program", report, 1},
	},
	Datagrams: {
		"unanswered":    {"what comes in is not a request that can be answered", flood, mass},
		"rate_limited":  {"requests without a credential are not answered: an address sends more than turn.limits.unauthenticated_per_second", "raise it if many Nodes are behind one address", many},
		"throttled":     {"a Node sends more requests than any client needs", look, many},
		"no_permission": {"a peer's datagrams are dropped: it has no permission, or its permission has expired", "its client has to refresh the permission or the channel; the first ones of a call are normal", many},
		"no_channel":    {"a client's datagrams are dropped: they are for a channel that is not bound", look, many},
		"over_limit":    {"datagrams are dropped: an allocation sends faster than turn.limits.bits_per_second", "raise it, or see which it is: `crolang-aio allocations --sort drops`", many},
		"over_total":    {"datagrams are dropped: Nodes together want more than turn.limits.total_bits_per_second", "raise it, or see who sends most: `crolang-aio allocations --sort traffic`", many},
		"queue_full":    {"datagrams are dropped: a client or the network takes them too slowly", "see which it is: `crolang-aio allocations --sort drops`", many},
		"peer_denied":   {"datagrams to peers that the peer policy refuses are dropped", "turn.peers.allow lets some through", many},
		"too_large":     {"datagrams are dropped that are too large for the rest of their path", look, many},
		"malformed":     {"malformed datagrams are dropped", flood, mass},
		"panicked":      {"a client was cut off by a bug in the program", report, 1},
		"unsent":        {"datagrams are dropped that the system did not send", "check the firewall and the routes of this machine", many},
	},
	Upstream: {
		"failed": {"your own webhook gives no usable answer", "look at its log; hooks.upstream.timeout is how long an answer may take", 1},
		"busy":   {"calls to your own webhook are not made: too many are waiting for it", "make it faster, or raise hooks.upstream.max_in_flight", 1},
	},
	Messages: {
		"dropped": {"notices of messages to your own webhook are dropped", "make it faster, or raise hooks.upstream.message_queue or message_workers", 1},
	},
	Tokens: {
		"unchecked": {"Nodes are turned away unheard: too many tokens wait to be compared with argon2id lines", "somebody tries tokens, or too many Nodes have argon2id lines: random tokens do with sha256 lines of `crolang-aio token new`", 1},
	},
	HTTP: {
		"hooks 401":       {"the webhooks are called without their token", "give the Broker the lines of `crolang-aio broker-env`; close the port to strangers", 3}, // doctor tries once
		"hooks 403":       {"the webhooks are called under a name that is not theirs", "call them by an address of this machine, or set a token", 1},
		"admin 401":       {"the admin listener is called without its token", "give callers admin.token; close the port to strangers", some},
		"hooks displaced": {"connections to the webhooks give way to newer ones: all places are taken", "close the port to strangers; Brokers keep few connections", some},
		"admin displaced": {"connections to the admin listener give way to newer ones: all places are taken", "close the port to strangers", some},
		"hooks panicked":  {"a call of a webhook was ended by a bug in the program", report, 1},
		"admin panicked":  {"a request to the admin listener was ended by a bug in the program", report, 1},
		"admin 403":       {"the admin listener is called under a name that is not its own, or by another site's page", "call it by an address of this machine, or by public.host", 1},
		"https displaced": {"HTTPS connections that have not shown a token give way to newer ones", flood, many},
		"https panicked":  {"a request over HTTPS was ended by a bug in the program", report, 1},
		"https 404":       {"what is asked for over HTTPS is not among https.serve", "nothing: strangers look for servers everywhere", mass},
	},
	Broker: {
		"over_share":   {"connections to the Broker are refused: their address has as many as broker.limits.connections_per_ip lets it, or its share of all", "raise the limit if many Nodes are behind one address", 1},
		"full":         {"connections to the Broker are refused: every place is taken by a Node that has joined", "raise broker.limits.connections and the limit of open files, or add a server", 1},
		"draining":     {"Nodes are told to try again, since the server is shutting down", "nothing: they come back when it has restarted", mass},
		"bad_request":  {"what reaches the Broker is not a Node's connection", flood, mass},
		"displaced":    {"connections that have not joined the Broker give way to newer ones", flood, many},
		"unread":       {"Nodes that do not read what they are sent are disconnected", look, some},
		"behind":       {"events for Nodes are refused: they read more slowly than others send to them", look, some},
		"taken_over":   {"connections are taken over by newer ones of the same id, since they no longer send anything", "normal when Nodes change networks", many},
		"unauthorized": {"Nodes are refused by what decides who may join", "normal for strangers; if it is Nodes of yours: `crolang-aio why NODE`", many},
		"id_taken":     {"Nodes are refused since one with their id is connected", look, many},
		"malformed":    {"what wants to join the Broker is no Node: it gives no id, version or runtime", look, many},
		"slowed_down":  {"Nodes' messages are read late: they send more than broker.limits.messages_per_second", "raise it, or see which Node it is: `crolang-aio nodes`", many},
		"foreign_page": {"pages of other origins are refused", "if they are yours, name them in broker.origins", some},
		"panicked":     {"a Node's connection was ended by a bug in the program", report, 1},
		"join_failed":  {"Nodes that want to join are told to try again: whatever decides, or the Redis that Brokers share, does not answer", "look at the log of crolang-aio and of your webhook", 1},
		"redis_failed": {"the Redis that Brokers share does not answer", "fix it; nothing has to be restarted here", 1},
	},
	Fleet: {
		"strange":   {"a machine has another credential secret", "see crolang-aio fleet, and give all the same credentials.secret", some},
		"forged":    {"somebody without the secret has written there", "change the password of that Redis, and see who has it", 1},
		"malformed": {"what a machine has written cannot be read", "run the same version on all machines; if they do, please report it", 1},
		"stale":     {"a question of another machine is old, or came before", "somebody may keep and repeat what goes through that Redis; else check the clocks", some},
		"busy":      {"questions of other machines are not answered: there are too many", "ask less often: each look at a Node asks all machines", some},
	},
	Redis: {
		"full":      {"the embedded Redis refuses connections: it has as many as it takes", "it is for development: use a Redis of its own", 1},
		"displaced": {"connections to the embedded Redis that have not given its password give way to newer ones", "close its port to strangers", some},
		"slow":      {"connections to the embedded Redis are cut off: no password, or no whole command, comes in time", "close its port to strangers; see that Brokers have the password", some},
		"malformed": {"what reaches the embedded Redis does not speak its protocol, or announces too much", "close its port to strangers", some},
		"unread":    {"clients of the embedded Redis that do not read what they are sent are cut off", "see that Brokers keep up; it is for development: use a Redis of its own", 1},
		"password":  {"commands for the embedded Redis come without its password, or with a wrong one", "give Brokers the lines of `crolang-aio broker-env`; close its port to strangers", 3},
		"unknown":   {"the embedded Redis is sent commands that it does not offer", "it is for Brokers in development: use a Redis of its own for others", some},
		"memory":    {"the embedded Redis refuses commands: its memory is full", "it is for development: use a Redis of its own", 1},
		"panicked":  {"a command for the embedded Redis met a bug in the program", report, 1},
	},
	Records: {
		"forgotten":   {"Nodes that were seen longest ago are forgotten, to keep memory bounded", "nothing, unless strangers make up Node ids: see hooks.authenticate.mode", mass},
		"events_lost": {"whoever reads /api/events is too slow, and misses some", "look at the line to it; why-records have all of them", many},
	},
}
