import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.BitSet;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.json.JSONObject;

/**
 * One Node, driven from outside: a JSON object a line on standard input is a command, a line on standard output that begins
 * with "event " is what happened. The only argument is the class of the Node.
 */
final class Main implements Node.Events {
	private static final String EVENT = "event ";

	private final PrintStream out;
	private final Map<String, BitSet> heard = new HashMap<>(); // by sender: which numbers
	private final Set<String> disorder = ConcurrentHashMap.newKeySet(); // senders with a number that came out of order
	private Node node;

	private Main(PrintStream out) {
		this.out = out;
	}

	public static void main(String[] args) throws Exception {
		Main main = new Main(System.out);
		System.setOut(System.err); // a library's own words
		main.node = (Node) Class.forName(args[0]).getDeclaredConstructor(Node.Events.class).newInstance(main);
		main.tell("ready");
		ExecutorService commands = Executors.newCachedThreadPool();
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
		for (String line; (line = in.readLine()) != null;) {
			JSONObject command = new JSONObject(line);
			commands.submit(() -> main.obey(command));
		}
		System.out.flush();
		Runtime.getRuntime().halt(0); // native threads would go on
	}

	private void obey(JSONObject c) {
		String name = c.getString("do");
		long began = System.nanoTime();
		try {
			switch (name) {
				case "join" -> node.join(c.getString("url"), c.getString("id"), c.optString("data", ""));
				case "connect" -> node.connect(c.getString("peer"));
				case "send" -> {
					String text = text(c.getInt("bytes"), c.getLong("seed"));
					tell("sending", "bytes", text.length(), "sha256", sha256(text));
					node.send(c.getString("peer"), text);
				}
				case "say" -> {
					for (int i = 0; i < c.getInt("count"); i++) {
						node.say(c.getString("peer"), Integer.toString(i));
					}
				}
				default -> throw new IllegalArgumentException("no such command");
			}
			tell("done", "do", name, "ms", (System.nanoTime() - began) / 1_000_000);
		} catch (Throwable e) { // the native library's errors too
			e.printStackTrace();
			tell("failed", "do", name, "cause", e.toString());
		}
	}

	/** text is printable, of one byte a character. */
	private static String text(int bytes, long seed) {
		StringBuilder b = new StringBuilder(bytes);
		Random random = new Random(seed);
		while (b.length() < bytes) {
			b.append((char) (' ' + random.nextInt(95)));
		}
		return b.toString();
	}

	private static String sha256(String text) {
		try {
			byte[] sum = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
			return String.format("%064x", new java.math.BigInteger(1, sum));
		} catch (java.security.NoSuchAlgorithmException e) {
			throw new IllegalStateException(e);
		}
	}

	private synchronized void tell(String event, Object... pairs) {
		JSONObject o = new JSONObject().put("event", event).put("at", System.currentTimeMillis());
		for (int i = 0; i < pairs.length; i += 2) {
			o.put((String) pairs[i], pairs[i + 1]);
		}
		out.println(EVENT + o);
		out.flush();
	}

	@Override
	public void disconnected(String cause) {
		tell("disconnected", "cause", cause);
	}

	@Override
	public void rejoined() {
		tell("rejoined");
	}

	@Override
	public void refused(String cause) {
		tell("refused", "cause", cause);
	}

	@Override
	public void connected(String peer) {
		tell("connected", "peer", peer);
	}

	@Override
	public void closed(String peer) {
		tell("closed", "peer", peer);
	}

	@Override
	public void received(String peer, String text) {
		tell("received", "peer", peer, "bytes", text.length(), "sha256", sha256(text));
	}

	/** Messages are numbers from 0 on; every hundredth is told. */
	@Override
	public void heard(String peer, String text) {
		int number = Integer.parseInt(text);
		synchronized (heard) {
			BitSet of = heard.computeIfAbsent(peer, p -> new BitSet());
			if (number != of.length()) {
				disorder.add(peer);
			}
			of.set(number);
			if (of.cardinality() % 100 == 0) {
				tell("heard", "peer", peer, "count", of.cardinality(), "ordered", !disorder.contains(peer));
			}
		}
	}
}
