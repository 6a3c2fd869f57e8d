"""A call of PJSIP to itself, relay to relay: PJNATH for ICE and TURN, a tone there and what was heard of it back.

The argument is {"url", "count", "size", "every", "users": [[username, password], twice]}: RTP has its own sizes, and 20 ms from one to
the next, so only the count matters, of packets each way. Prints one line of JSON and stays, with its relays, until standard
input ends.
"""

import json
import os
import select
import sys
import time

import pjsua2 as pj

TRANSPORTS = {"turn udp": 17, "turn tcp": 6, "turns tcp": 56}  # pj_turn_tp_type

out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # PJLIB writes to standard output before it can be told not to


def end(**said):
    """Says how it went, and that is it: without the good end that a call would have."""
    print(json.dumps(said), file=out, flush=True)
    os._exit(1)


class Call(pj.Call):
    state, answered, audio = None, None, None

    def onCallState(self, _):
        self.state = self.getInfo().state

    def onCallMediaState(self, _):
        info = self.getInfo()  # what it holds lives as long as this
        if any(m.status == pj.PJSUA_CALL_MEDIA_ACTIVE for m in info.media):
            self.audio = self.getAudioMedia(-1)

    def received(self):
        return self.getStreamStat(0).rtcp.rxStat.pkt if self.audio else 0


class Account(pj.Account):
    call = None

    def __init__(self, port, name, url, user, password):
        super().__init__()
        scheme, _, rest = url.partition(":")
        address, _, transport = rest.partition("?transport=")
        config = pj.AccountConfig()
        config.idUri = f"sip:{name}@127.0.0.1:{port}"
        nat = config.natConfig
        nat.iceEnabled = nat.iceNoRtcp = nat.turnEnabled = True
        nat.iceMaxHostCands = 0  # relayed candidates alone
        nat.turnServer = address
        nat.turnConnType = TRANSPORTS[scheme + " " + transport]
        nat.turnUserName, nat.turnPassword = user, password
        self.create(config)

    def onIncomingCall(self, incoming):
        self.call = Call(self, incoming.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        self.call.answer(answer)


def main(url, count, size, every, users):
    began = time.monotonic()
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0  # libHandleEvents does it all
    config.uaConfig.mainThreadOnly = True
    config.logConfig.level = config.logConfig.consoleLevel = 3
    config.medConfig.noVad = True
    endpoint.libInit(config)
    endpoint.audDevManager().setNullDev()
    endpoint.codecSetPriority("PCMU/8000", 255)
    sip = pj.TransportConfig()
    sip.boundAddress = "127.0.0.1"
    port = endpoint.transportGetInfo(endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, sip)).localName.rpartition(":")[2]
    endpoint.libStart()

    caller, called = [Account(port, name, url, *user) for name, user in zip("ab", users)]
    a = Call(caller)
    a.makeCall(f"sip:b@127.0.0.1:{port}", pj.CallOpParam(True))
    tone = pj.ToneGenerator()
    tone.createToneGenerator(8000, 1)
    sound = pj.ToneDesc()
    sound.freq1, sound.freq2, sound.on_msec, sound.off_msec = 440, 0, 1000, 0
    tone.play(pj.ToneDescVector([sound]), True)
    deadline, echoing, loudest, got = time.monotonic() + 30 + count / 40, False, 0, [0, 0]
    while min(got) < count or loudest == 0:
        if time.monotonic() > deadline or a.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            end(ok=False, error=f"state {a.state}, packets {got}, loudness {loudest}\n" + a.dump(True, " "))
        endpoint.libHandleEvents(20)
        b = called.call
        if not echoing and a.audio and b and b.audio:
            tone.startTransmit(a.audio)
            b.audio.startTransmit(b.audio)
            echoing = True
        if echoing:
            got, loudest = [a.received(), b.received()], max(loudest, a.audio.getRxLevel())
    print(a.dump(True, " "), file=sys.stderr)
    said = {"ok": True, "version": endpoint.libVersion().full, "ms": int(1000 * (time.monotonic() - began))}
    print(json.dumps(said), file=out, flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        endpoint.libHandleEvents(20)
    os._exit(0)


try:
    main(**json.loads(sys.argv[1]))
except Exception as e:  # else the interpreter's end hangs or aborts in PJLIB
    end(ok=False, error=repr(e))
