import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Socket;
import io.socket.engineio.client.transports.WebSocket;
import java.net.URI;
import java.util.Map;
import java.util.Timer;
import java.util.TimerTask;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * A Node of the protocol's own words, on the two libraries that the JVM's Node library stands on: Socket.IO's client and
 * webrtc-java. It comes back to a Broker that it lost every 500 ms, until one refuses it.
 */
final class Caller implements Node {
	private static final String VERSION = "0.2.2-alpha";
	private static final int SECONDS = 60;

	private final Events events;
	private final Timer timer = new Timer(true);
	private final Map<String, Link> links = new ConcurrentHashMap<>(); // by session
	private final Map<String, Link> open = new ConcurrentHashMap<>(); // by Node
	private volatile String id;
	private volatile String url;
	private volatile String data;
	private volatile Socket socket;
	private volatile JSONObject rtc;

	Caller(Events events) {
		this.events = events;
	}

	@Override
	public void join(String url, String id, String data) throws Exception {
		this.url = url;
		this.id = id;
		this.data = data;
		dial(true).get(SECONDS, TimeUnit.SECONDS);
	}

	/** dial opens a socket of its own; what it gives ends when the configuration has come or the Broker said no. */
	private CompletableFuture<Void> dial(boolean first) {
		CompletableFuture<Void> joined = new CompletableFuture<>();
		IO.Options options = IO.Options.builder()
			.setReconnection(false)
			.setForceNew(true)
			.setTransports(new String[] {WebSocket.NAME})
			.setQuery("id=" + id + "&version=" + VERSION + "&runtime=JVM&data=" + data)
			.build();
		Socket s = IO.socket(URI.create(url), options);
		socket = s;
		s.on("AUTHENTICATED", args -> {
			rtc = new JSONObject((String) args[0]);
			if (joined.complete(null) && !first) {
				events.rejoined();
			}
		});
		s.on(Socket.EVENT_DISCONNECT, args -> {
			events.disconnected(String.valueOf(args[0]));
			again();
		});
		s.on(Socket.EVENT_CONNECT_ERROR, args -> {
			String cause = refusal(args);
			s.close();
			if (first) {
				joined.completeExceptionally(new IllegalStateException(cause == null ? "no Broker" : cause));
			} else if (cause != null) {
				events.refused(cause);
			} else {
				again();
			}
		});
		s.on("CONNECTION_ATTEMPT", args -> given(args, o -> {
			Link link = new Link(this, o.getString("from"), o.getString("sessionId"), rtc, false);
			links.put(link.session, link);
			link.remote(o.getJSONObject("sessionDescription"), "CONNECTION_ACCEPTANCE");
		}));
		s.on("CONNECTION_ACCEPTANCE", args -> linked(args, (link, o) -> link.remote(o.getJSONObject("sessionDescription"), null)));
		for (String way : new String[] {Link.TO_RESPONDER, Link.TO_INITIATOR}) {
			s.on(way, args -> linked(args, (link, o) -> link.candidate(o.getJSONObject("candidate"))));
		}
		s.on("SOCKET_MSG_EXCHANGE", args -> given(args, o -> events.heard(o.getString("from"), o.getString("content"))));
		s.connect();
		return joined;
	}

	private void again() {
		timer.schedule(new TimerTask() {
			@Override
			public void run() {
				dial(false);
			}
		}, 500);
	}

	/** refusal is the text of the Broker's decided no, null where there was none: then a Node tries again. */
	private static String refusal(Object[] args) {
		try {
			return new JSONObject(String.valueOf(args[0])).getString("message");
		} catch (JSONException e) {
			return null;
		}
	}

	private interface Given {
		void take(JSONObject o);
	}

	private interface Linked {
		void take(Link link, JSONObject o);
	}

	private static void given(Object[] args, Given g) {
		g.take(new JSONObject((String) args[0]));
	}

	private void linked(Object[] args, Linked l) {
		given(args, o -> {
			Link link = links.get(o.getString("sessionId"));
			if (link != null) {
				l.take(link, o);
			}
		});
	}

	/** emit sends an event and waits for the Broker's answer. */
	private void emit(String event, JSONObject o) throws Exception {
		CompletableFuture<String> answer = new CompletableFuture<>();
		socket.emit(event, o.toString(), (Ack) args -> answer.complete(String.valueOf(args[0])));
		String got = answer.get(SECONDS, TimeUnit.SECONDS);
		if (!got.equals("OK")) {
			throw new IllegalStateException("the Broker answers " + got + " to " + event);
		}
	}

	/** post sends an event of a negotiation, whose answer nobody waits for: this may be the socket's own thread. */
	void post(String event, Link link, String key, JSONObject value) {
		JSONObject o = new JSONObject().put("platformFrom", "JVM").put("versionFrom", VERSION).put("from", id).put("to", link.peer)
			.put("sessionId", link.session).put(key, value);
		socket.emit(event, o.toString(), (Ack) args -> {
			if (!"OK".equals(args[0])) {
				link.fail("the Broker answers " + args[0] + " to " + event);
			}
		});
	}

	void opened(Link link) {
		open.put(link.peer, link);
		events.connected(link.peer);
	}

	void closed(Link link) {
		links.remove(link.session);
		if (open.remove(link.peer, link)) {
			events.closed(link.peer);
		}
	}

	void received(Link link, String text) {
		events.received(link.peer, text);
	}

	@Override
	public void connect(String peer) throws Exception {
		Link link = new Link(this, peer, UUID.randomUUID().toString(), rtc, true);
		links.put(link.session, link);
		link.offer();
		try {
			link.ready.get(SECONDS, TimeUnit.SECONDS);
		} catch (ExecutionException e) {
			throw new IllegalStateException(e.getCause());
		}
	}

	@Override
	public void send(String peer, String text) throws Exception {
		Link link = open.get(peer);
		if (link == null) {
			throw new IllegalStateException("not connected to " + peer);
		}
		link.send(text);
	}

	@Override
	public void say(String peer, String text) throws Exception {
		emit("SOCKET_MSG_EXCHANGE", new JSONObject().put("from", id).put("to", peer).put("channel", "numbers").put("content", text));
	}
}
