// Package e2e tests the built program against real peers: coturn's client, headless Chromium and Firefox, aioice, aiortc,
// libdatachannel, libnice, pion, PJSIP and werift, two Nodes on JVMs, Socket.IO servers on the embedded Redis, axios. A peer that is not installed skips its test, unless
// CROLANG_AIO_REQUIRE_PEERS is set.
package e2e
