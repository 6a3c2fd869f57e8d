/** What a Node can do, whichever library is below it. Its calls may block; what happens is told to {@link Events}. */
interface Node {
	/** Joins the Broker at url; returns once the RTC configuration has come. */
	void join(String url, String id, String data) throws Exception;

	/** Connects to another Node, over its TURN server if the configuration says so; returns once messages can be sent. */
	void connect(String peer) throws Exception;

	/** Sends text to a connected Node; returns once it is on its way. */
	void send(String peer, String text) throws Exception;

	/** Sends text through the Broker; returns once the Broker has taken it, and throws what it answered otherwise. */
	void say(String peer, String text) throws Exception;

	/** What a Node is told, on any thread. */
	interface Events {
		/** The connection to the Broker was lost. */
		void disconnected(String cause);

		/** It is there again. */
		void rejoined();

		/** It will not come back: the Broker said no, for this cause. */
		void refused(String cause);

		void connected(String peer);

		void closed(String peer);

		void received(String peer, String text);

		void heard(String peer, String text);
	}
}
