/* Two agents of libnice in one process, relay to relay.
 *
 * Arguments: address, port, transport (udp, tcp) of the server; how many messages, of how many bytes, every how many
 * milliseconds (0: as soon as the one before is back); username and password of the one, and of the other. Prints one line
 * of JSON and stays, with its relays, until standard input ends. */
#include <nice/agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static GMainLoop *loop;
static NiceAgent *agents[2];
static guint streams[2];
static int gathered, ready, sent, back, count, size, every;
static gint64 began;

static void fail(const char *why) {
	printf("{\"ok\":false,\"version\":\"%s\",\"error\":\"%s, after %d messages\"}\n", VERSION, why, back);
	exit(1);
}

static gboolean late(gpointer unused) {
	(void)unused;
	fail("not in time");
	return FALSE;
}

static gboolean silent(gpointer which) {
	if (back <= GPOINTER_TO_INT(which)) fail("nothing comes back");
	return FALSE;
}

static gboolean next(gpointer unused) {
	(void)unused;
	gchar *message = g_malloc0(size);
	memset(message, sent % 251, size);
	if (nice_agent_send(agents[0], streams[0], 1, size, message) != size) fail("nice_agent_send");
	g_free(message);
	g_timeout_add_seconds(30, silent, GINT_TO_POINTER(sent++));
	return FALSE;
}

static gboolean ended(GIOChannel *in, GIOCondition what, gpointer unused) {
	(void)in, (void)what, (void)unused;
	g_main_loop_quit(loop);
	return FALSE;
}

static void received(NiceAgent *agent, guint stream, guint component, guint n, gchar *message, gpointer unused) {
	(void)unused;
	if (agent == agents[1]) { /* the echo */
		if (nice_agent_send(agent, stream, component, n, message) != (gint)n) fail("nice_agent_send of the echo");
		return;
	}
	for (guint i = 0; i < n || (int)n != size; i++)
		if ((int)n != size || (guchar)message[i] != back % 251) fail("a message came back as another");
	if (++back < count) {
		if (every) g_timeout_add(every, next, NULL);
		else next(NULL);
		return;
	}
	printf("{\"ok\":true,\"version\":\"%s\",\"ms\":%d}\n", VERSION, (int)((g_get_monotonic_time() - began) / 1000));
	fflush(stdout);
	GIOChannel *in = g_io_channel_unix_new(0);
	g_io_add_watch(in, G_IO_IN | G_IO_HUP, ended, NULL);
}

static void state(NiceAgent *agent, guint stream, guint component, guint now, gpointer unused) {
	(void)unused;
	if (now == NICE_COMPONENT_STATE_FAILED) fail("the component has failed");
	if (now != NICE_COMPONENT_STATE_READY || ready == 2) return;
	NiceCandidate *local, *remote;
	if (!nice_agent_get_selected_pair(agent, stream, component, &local, &remote)) fail("ready without a pair");
	if (local->type != NICE_CANDIDATE_TYPE_RELAYED || remote->type != NICE_CANDIDATE_TYPE_RELAYED) fail("a candidate that is no relay");
	if (++ready == 2) next(NULL);
}

static void done(NiceAgent *agent, guint stream, gpointer unused) {
	(void)agent, (void)stream, (void)unused;
	if (++gathered < 2) return;
	for (int i = 0; i < 2; i++) {
		gchar *name, *password;
		nice_agent_get_local_credentials(agents[i], streams[i], &name, &password);
		nice_agent_set_remote_credentials(agents[1 - i], streams[1 - i], name, password);
		g_free(name);
		g_free(password);
	}
	for (int i = 0; i < 2; i++) {
		GSList *all = nice_agent_get_local_candidates(agents[i], streams[i], 1);
		if (!all) fail("no relay");
		for (GSList *l = all; l; l = l->next)
			if (((NiceCandidate *)l->data)->type != NICE_CANDIDATE_TYPE_RELAYED) fail("a candidate that is no relay");
		nice_agent_set_remote_candidates(agents[1 - i], streams[1 - i], 1, all);
		g_slist_free_full(all, (GDestroyNotify)nice_candidate_free);
	}
}

int main(int argc, char **argv) {
	if (argc != 11) return 2;
	count = atoi(argv[4]), size = atoi(argv[5]), every = atoi(argv[6]);
	began = g_get_monotonic_time();
	loop = g_main_loop_new(NULL, FALSE);
	g_timeout_add_seconds(60 + count * every / 800, late, NULL);
	for (int i = 0; i < 2; i++) {
		NiceAgent *agent = agents[i] = nice_agent_new(g_main_loop_get_context(loop), NICE_COMPATIBILITY_RFC5245);
		g_object_set(agent, "force-relay", TRUE, "upnp", FALSE, "controlling-mode", i == 0, NULL);
		NiceAddress local;
		nice_address_init(&local);
		nice_address_set_from_string(&local, strchr(argv[1], ':') ? "::1" : "127.0.0.1");
		nice_agent_add_local_address(agent, &local);
		streams[i] = nice_agent_add_stream(agent, 1);
		if (!nice_agent_set_relay_info(agent, streams[i], 1, argv[1], atoi(argv[2]), argv[7 + 2 * i], argv[8 + 2 * i],
			strcmp(argv[3], "tcp") ? NICE_RELAY_TYPE_TURN_UDP : NICE_RELAY_TYPE_TURN_TCP)) fail("nice_agent_set_relay_info");
		g_signal_connect(agent, "candidate-gathering-done", G_CALLBACK(done), NULL);
		g_signal_connect(agent, "component-state-changed", G_CALLBACK(state), NULL);
		nice_agent_attach_recv(agent, streams[i], 1, g_main_loop_get_context(loop), received, NULL);
	}
	for (int i = 0; i < 2; i++)
		if (!nice_agent_gather_candidates(agents[i], streams[i])) fail("nice_agent_gather_candidates");
	g_main_loop_run(loop);
	for (int i = 0; i < 2; i++) g_object_unref(agents[i]);
	return 0;
}
