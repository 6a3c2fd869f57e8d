"""Two peers of aioice or aiortc in one process, relay to relay.

Arguments: aioice or aiortc, then {"url", "count", "size", "every", "users": [[username, password], twice]}; every is in
milliseconds, 0 for as fast as it goes. Prints one line of JSON and stays, with its relays, until standard input ends.
SSL_CERT_FILE has the certificate to trust.
"""

import asyncio
import json
import sys
import time

import aioice

try:
    from aioice.ice import TransportPolicy
except ImportError:
    from aioice import TransportPolicy


def payload(i, size):
    return bytes([i % 251]) * 4 + i.to_bytes(4, "big") + bytes(size - 8)


async def with_aioice(url, users, count, size, every):
    """Datagrams, an echo each."""
    scheme, _, rest = url.partition(":")
    address, _, query = rest.partition("?")
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    a, b = [
        aioice.Connection(
            ice_controlling=i == 0,
            turn_server=(host, int(port)),
            turn_username=user,
            turn_password=password,
            turn_ssl=scheme == "turns",
            turn_transport=query.removeprefix("transport="),
            transport_policy=TransportPolicy.RELAY,
        )
        for i, (user, password) in enumerate(users)
    ]
    await asyncio.gather(a.gather_candidates(), b.gather_candidates())
    for x, y in (a, b), (b, a):
        for candidate in x.local_candidates:
            assert candidate.type == "relay", candidate
            await y.add_remote_candidate(candidate)
        await y.add_remote_candidate(None)
        y.remote_username, y.remote_password = x.local_username, x.local_password
    await asyncio.gather(a.connect(), b.connect())

    async def echo():
        while True:
            await b.send(await b.recv())

    echoing = asyncio.ensure_future(echo())
    for i in range(count):
        await a.send(payload(i, size))
        got = await asyncio.wait_for(a.recv(), 30)
        assert got == payload(i, size), f"datagram {i} came back as another"
        await asyncio.sleep(every / 1000)
    echoing.cancel()
    return [a.close, b.close]


async def with_aiortc(url, users, count, size, every):
    """Messages on a data channel, an echo each."""
    from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection

    def only_relay(connection):  # it has no iceTransportPolicy
        connection.sctp.transport.transport._connection._transport_policy = TransportPolicy.RELAY

    a, b = [
        RTCPeerConnection(RTCConfiguration([RTCIceServer(urls=[url], username=user, credential=password)]))
        for user, password in users
    ]
    channel = a.createDataChannel("echo")
    opened, done = asyncio.Event(), asyncio.Event()
    back = []
    channel.on("open", opened.set)

    @channel.on("message")
    def on_message(message):
        back.append(message)
        if len(back) == count:
            done.set()

    @b.on("datachannel")
    def on_datachannel(theirs):
        theirs.on("message", theirs.send)

    only_relay(a)
    await a.setLocalDescription(await a.createOffer())
    await b.setRemoteDescription(a.localDescription)
    only_relay(b)
    await b.setLocalDescription(await b.createAnswer())
    for x in a, b:
        kinds = [line.split(" typ ")[1].split()[0] for line in x.localDescription.sdp.splitlines() if " typ " in line]
        assert set(kinds) == {"relay"}, kinds
    await a.setRemoteDescription(b.localDescription)
    await asyncio.wait_for(opened.wait(), 30)
    for i in range(count):
        channel.send(payload(i, size))
        if every:
            await asyncio.sleep(every / 1000)
    await asyncio.wait_for(done.wait(), 30)
    assert back == [payload(i, size) for i in range(count)], "messages came back as others"
    return [a.close, b.close]


async def main():
    which, arguments = sys.argv[1], json.loads(sys.argv[2])
    version = aioice.__version__
    if which == "aiortc":
        import aiortc

        version = aiortc.__version__ + " on aioice " + version
    began = time.monotonic()
    within = 60 + 1.25 * arguments["count"] * arguments["every"] / 1000
    ends = await asyncio.wait_for(globals()["with_" + which](**arguments), within)
    print(json.dumps({"ok": True, "version": version, "ms": int(1000 * (time.monotonic() - began))}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for end in ends:
        await end()


asyncio.run(main())
