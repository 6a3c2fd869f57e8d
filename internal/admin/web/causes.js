// The causes of refusals in words, each with what to do about it.

const WORDS = {
  authentication: "A Broker asked whether a Node may come in, and it may not: see hooks.authenticate, and the Node's events.",
  authorization: "A Broker asked whether a Node may talk to another, and it may not: see hooks.authorize, and the Node's events.",
  configuration: "A Broker got no RTC configuration for a Node: it is banned, or the server could make none.",
  stale_nonce: "A nonce that is old or of before a restart: the client tries again by itself.",
  wrong_credential: "An unknown user or a wrong password. After a change of credentials.secret: Nodes that still have a former one; see credentials.previous_secrets.",
  incomplete_credential: "A signed request without user name, realm or nonce: a faulty client.",
  expired: "The credential has ended, and no Broker says that its Node is connected; see credentials.ttl.",
  banned: "The Node is banned.",
  wrong_credentials: "Another user on the address of a live allocation.",
  in_use: "A second allocation from one address, mostly by a client that restarted on the same port.",
  no_allocation: "A request for an allocation that is not there any more.",
  session_over: "The allocation lived as long as credentials.max_session lets it.",
  draining: "The server is about to end.",
  server_full: "All of turn.limits.allocations are in use.",
  node_full: "The Node has as many as turn.limits.allocations_per_node lets it.",
  server_bytes: "The month's turn.limits.bytes_per_month are used.",
  node_bytes: "The Node has used its turn.limits.bytes_per_month_per_node of this month.",
  no_port: "All ports of turn.relay_ports are taken: widen the range.",
  capacity: "The system gives no socket, mostly for want of open files: raise LimitNOFILE or ulimit -n.",
  reservation: "A reservation token that is unknown or over.",
  transport: "A relay over something else than UDP was asked for, or over TCP without turn.tcp_relays.",
  tcp_relay: "A request for TCP relays (RFC 6062) where it has no place: over UDP, or for a relay of the other kind.",
  connection_exists: "A second connection to a peer with which there is one.",
  connect_failed: "A peer refused a connection for TCP, or did not answer: the Node's events say which.",
  connections: "More connections with peers than one allocation may have.",
  no_connection: "A data connection for a peer that is not there any more, or somebody else's.",
  family: "A relay or peer of an address family that is not served; see public.ipv4 and public.ipv6.",
  password_algorithms: "A request whose password algorithms (RFC 8489) are not those that it was offered: a faulty client, or somebody in between.",
  peer_denied: "The peer's address is refused: usual for the private addresses of Nodes; see turn.peers.allow.",
  own_listener: "The peer is a listener of this server.",
  peer_unauthorized: "No Broker has let the two Nodes talk; see turn.peers.mode.",
  peer_would_be_unauthorized: "Nothing was refused, but turn.peers.mode = \"authorized\" would.",
  permissions: "More permissions than one allocation may have.",
  channels: "More channels than one allocation may have.",
  tables: "What is kept of one Node's allocations, permissions and channels takes too much memory.",
  channel_conflict: "A channel number or peer that is bound to another.",
  malformed: "A request that lacks something or has it in a wrong form: a faulty client, or a scanner.",
  unknown_attribute: "An attribute that must be understood and is not.",
  mobility_off: "A mobility ticket was asked for or shown, and turn.mobility is off.",
  ticket: "A mobility ticket that this server did not make since it was started.",
  ticket_used: "A mobility ticket that is used up: a faulty client, or one that did not hear for long.",
  ticket_over: "A mobility ticket of an allocation that has ended.",
  ticket_stolen: "A mobility ticket with another credential than its allocation's: see the events of the Node that showed it.",
  not_moved: "A mobility ticket where its client is already: a faulty client.",
  alternate: "Clients are sent to the server that turn.alternate names.",
  engine: "A mistake in crolang-aio: please report it with the log.",
};

const USUAL = new Set(["alternate", "stale_nonce", "peer_would_be_unauthorized"]);

/** causes lists what was refused, {name, code, cause, words, usual, n}, the most frequent first. Usual is what is no error. */
export function causes(refusals) {
  return Object.entries(refusals).map(([name, n]) => {
    const [code, cause] = name.split(" ");
    return { name, code, cause, words: WORDS[cause] ?? cause.replaceAll("_", " "), usual: USUAL.has(cause), n };
  }).sort((a, b) => a.usual - b.usual || b.n - a.n);
}
