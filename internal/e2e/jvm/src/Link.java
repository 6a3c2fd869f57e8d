import dev.onvoid.webrtc.CreateSessionDescriptionObserver;
import dev.onvoid.webrtc.PeerConnectionFactory;
import dev.onvoid.webrtc.PeerConnectionObserver;
import dev.onvoid.webrtc.RTCAnswerOptions;
import dev.onvoid.webrtc.RTCConfiguration;
import dev.onvoid.webrtc.RTCDataChannel;
import dev.onvoid.webrtc.RTCDataChannelBuffer;
import dev.onvoid.webrtc.RTCDataChannelInit;
import dev.onvoid.webrtc.RTCDataChannelObserver;
import dev.onvoid.webrtc.RTCDataChannelState;
import dev.onvoid.webrtc.RTCIceCandidate;
import dev.onvoid.webrtc.RTCIceServer;
import dev.onvoid.webrtc.RTCIceTransportPolicy;
import dev.onvoid.webrtc.RTCOfferOptions;
import dev.onvoid.webrtc.RTCPeerConnection;
import dev.onvoid.webrtc.RTCPeerConnectionState;
import dev.onvoid.webrtc.RTCSdpType;
import dev.onvoid.webrtc.RTCSessionDescription;
import dev.onvoid.webrtc.SetSessionDescriptionObserver;
import dev.onvoid.webrtc.media.audio.AudioDeviceModule;
import dev.onvoid.webrtc.media.audio.AudioLayer;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.json.JSONArray;
import org.json.JSONObject;

/** A connection of a Caller to one other: libwebrtc's, with one data channel. */
final class Link implements PeerConnectionObserver, RTCDataChannelObserver {
	static final String TO_RESPONDER = "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER";
	static final String TO_INITIATOR = "ICE_CANDIDATES_EXCHANGE_RESPONDER_TO_INITIATOR";

	private static final int PART = 15_000; // bytes, as the JVM's Node library cuts messages
	private static final int BUFFERED = 512 << 10;
	// The default is this machine's sound card; where there is none, libwebrtc aborts the process.
	private static final PeerConnectionFactory FACTORY = new PeerConnectionFactory(new AudioDeviceModule(AudioLayer.kDummyAudio));

	final String peer;
	final String session;
	final CompletableFuture<Void> ready = new CompletableFuture<>();

	private final Caller caller;
	private final boolean initiator;
	private final RTCPeerConnection connection;
	private final ByteArrayOutputStream parts = new ByteArrayOutputStream();
	// libwebrtc calls back on its own threads, which must not wait for it.
	private final ExecutorService later = Executors.newSingleThreadExecutor(r -> {
		Thread t = new Thread(r);
		t.setDaemon(true);
		return t;
	});
	private volatile RTCDataChannel channel;
	private List<RTCIceCandidate> early = new ArrayList<>(); // until both descriptions are set; null then
	private List<JSONObject> held = new ArrayList<>(); // own candidates, likewise

	Link(Caller caller, String peer, String session, JSONObject rtc, boolean initiator) {
		this.caller = caller;
		this.peer = peer;
		this.session = session;
		this.initiator = initiator;
		connection = FACTORY.createPeerConnection(configuration(rtc), this);
		if (initiator) {
			use(connection.createDataChannel("", new RTCDataChannelInit()));
		}
	}

	private static RTCConfiguration configuration(JSONObject rtc) {
		RTCConfiguration c = new RTCConfiguration();
		c.iceTransportPolicy = RTCIceTransportPolicy.valueOf(rtc.getString("iceTransportPolicy").toUpperCase());
		JSONArray servers = rtc.getJSONArray("iceServers");
		for (int i = 0; i < servers.length(); i++) {
			JSONObject o = servers.getJSONObject(i);
			RTCIceServer server = new RTCIceServer();
			for (Object u : o.getJSONArray("urls")) {
				server.urls.add((String) u);
			}
			server.username = o.optString("username", "");
			server.password = o.optString("password", "");
			c.iceServers.add(server);
		}
		return c;
	}

	void offer() {
		connection.createOffer(new RTCOfferOptions(), described("CONNECTION_ATTEMPT"));
	}

	/** remote sets the other side's description, and answers with an event if one is given. */
	void remote(JSONObject description, String answer) {
		RTCSdpType type = RTCSdpType.valueOf(description.getString("type").toUpperCase());
		connection.setRemoteDescription(new RTCSessionDescription(type, description.getString("sdp")), set(() -> {
			if (answer != null) {
				connection.createAnswer(new RTCAnswerOptions(), described(answer));
			} else {
				described();
			}
		}));
	}

	private CreateSessionDescriptionObserver described(String event) {
		return new CreateSessionDescriptionObserver() {
			@Override
			public void onSuccess(RTCSessionDescription d) {
				later.execute(() -> connection.setLocalDescription(d, set(() -> {
					caller.post(event, Link.this, "sessionDescription",
						new JSONObject().put("type", d.sdpType.name().toLowerCase()).put("sdp", d.sdp));
					if (!initiator) {
						described();
					}
				})));
			}

			@Override
			public void onFailure(String error) {
				fail(error);
			}
		};
	}

	/** described lets the candidates go that waited for both descriptions. */
	private void described() {
		List<RTCIceCandidate> theirs;
		List<JSONObject> ours;
		synchronized (this) {
			theirs = early;
			ours = held;
			early = null;
			held = null;
		}
		theirs.forEach(connection::addIceCandidate);
		ours.forEach(this::tell);
	}

	private void tell(JSONObject candidate) {
		caller.post(initiator ? TO_RESPONDER : TO_INITIATOR, this, "candidate", candidate);
	}

	private SetSessionDescriptionObserver set(Runnable then) {
		return new SetSessionDescriptionObserver() {
			@Override
			public void onSuccess() {
				later.execute(then);
			}

			@Override
			public void onFailure(String error) {
				fail(error);
			}
		};
	}

	void candidate(JSONObject o) {
		RTCIceCandidate c = new RTCIceCandidate(o.getString("sdpMid"), o.getInt("sdpMLineIndex"), o.getString("sdp"));
		later.execute(() -> {
			synchronized (this) {
				if (early != null) {
					early.add(c);
					return;
				}
			}
			connection.addIceCandidate(c);
		});
	}

	void fail(String cause) {
		ready.completeExceptionally(new IllegalStateException(cause));
	}

	@Override
	public void onIceCandidate(RTCIceCandidate c) {
		JSONObject o = new JSONObject().put("sdp", c.sdp).put("sdpMid", c.sdpMid).put("sdpMLineIndex", c.sdpMLineIndex).put("serverUrl", c.serverUrl);
		later.execute(() -> {
			synchronized (this) {
				if (held != null) {
					held.add(o);
					return;
				}
			}
			tell(o);
		});
	}

	@Override
	public void onConnectionChange(RTCPeerConnectionState state) {
		if (state == RTCPeerConnectionState.FAILED || state == RTCPeerConnectionState.DISCONNECTED) {
			fail("the connection is " + state);
			later.execute(() -> {
				caller.closed(this);
				connection.close();
			});
		}
	}

	@Override
	public void onDataChannel(RTCDataChannel c) {
		use(c);
	}

	private void use(RTCDataChannel c) {
		channel = c;
		c.registerObserver(this);
		if (c.getState() == RTCDataChannelState.OPEN) {
			onStateChange();
		}
	}

	@Override
	public void onBufferedAmountChange(long before) {
	}

	@Override
	public void onStateChange() {
		later.execute(() -> {
			RTCDataChannel c = channel;
			if (c != null && c.getState() == RTCDataChannelState.OPEN && !ready.isDone()) {
				caller.opened(this);
				ready.complete(null);
			}
		});
	}

	/** Every part begins with a byte that is 1 in the last of a message. */
	@Override
	public void onMessage(RTCDataChannelBuffer buffer) {
		byte[] b = new byte[buffer.data.remaining()];
		buffer.data.get(b);
		parts.write(b, 1, b.length - 1);
		if (b[0] == 1) {
			String text = parts.toString(StandardCharsets.UTF_8);
			parts.reset();
			later.execute(() -> caller.received(this, text));
		}
	}

	void send(String text) throws Exception {
		byte[] all = text.getBytes(StandardCharsets.UTF_8);
		for (int at = 0; at < all.length; at += PART) {
			while (channel.getBufferedAmount() > BUFFERED) {
				Thread.sleep(1);
			}
			int n = Math.min(PART, all.length - at);
			ByteBuffer part = ByteBuffer.allocateDirect(n + 1);
			part.put((byte) (at + n == all.length ? 1 : 0)).put(all, at, n).flip();
			channel.send(new RTCDataChannelBuffer(part, true));
		}
	}
}
