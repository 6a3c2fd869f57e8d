import java.util.Map;
import kotlin.Unit;
import kotlin.jvm.functions.Function2;
import org.crolangP2P.CrolangNode;
import org.crolangP2P.CrolangP2P;
import org.crolangP2P.OnNewP2PMsgHandlersBuilder;
import org.crolangP2P.OnNewSocketMsgHandlersBuilder;
import org.crolangP2P.java.JavaBrokerConnectionAdditionalParameters;
import org.crolangP2P.java.JavaBrokerLifecycleCallbacks;
import org.crolangP2P.java.JavaCrolangSettings;
import org.crolangP2P.java.JavaIncomingCrolangNodesCallbacks;
import org.crolangP2P.java.JavaSyncCrolangNodeCallbacks;

/** A Node of io.github.crolang-p2p:crolang-p2p-node-jvm, 0.2.0-alpha or newer. */
final class Library implements Node {
	private static final String CHANNEL = "numbers";

	private final Events events;

	Library(Events events) {
		this.events = events;
	}

	@Override
	public void join(String url, String id, String data) throws Exception {
		CrolangP2P.Java.connectToBroker(url, id, data,
			OnNewSocketMsgHandlersBuilder.createNew().add(CHANNEL, events::heard).build(),
			JavaBrokerConnectionAdditionalParameters.builder()
				.lifecycleCallbacks(JavaBrokerLifecycleCallbacks.builder()
					.onInvoluntaryDisconnection(cause -> events.refused(cause.name()))
					.onReconnectionAttempt(() -> events.disconnected("it tries again"))
					.onSuccessfullyReconnected(events::rejoined)
					.build())
				.settings(JavaCrolangSettings.builder().reconnectionAttemptsDeltaMs(500).build())
				.build());
		CrolangP2P.Java.allowIncomingConnections(JavaIncomingCrolangNodesCallbacks.builder()
			.onConnectionSuccess(node -> events.connected(node.getId()))
			.onDisconnection(events::closed)
			.onNewMsg(messages())
			.build());
	}

	private Map<String, Function2<CrolangNode, String, Unit>> messages() {
		return OnNewP2PMsgHandlersBuilder.createNew().add(CHANNEL, (node, text) -> events.received(node.getId(), text)).build();
	}

	@Override
	public void connect(String peer) throws Exception {
		CrolangP2P.Java.connectToSingleNodeSync(peer, JavaSyncCrolangNodeCallbacks.builder()
			.onDisconnection(events::closed)
			.onNewMsg(messages())
			.build());
		events.connected(peer);
	}

	@Override
	public void send(String peer, String text) {
		CrolangNode node = CrolangP2P.Java.getConnectedNode(peer).orElseThrow();
		if (!node.send(CHANNEL, text)) {
			throw new IllegalStateException("not sent");
		}
	}

	@Override
	public void say(String peer, String text) throws Exception {
		CrolangP2P.Java.sendSocketMsg(peer, CHANNEL, text);
	}
}
