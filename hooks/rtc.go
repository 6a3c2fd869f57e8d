package hooks

import (
	"strconv"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// rtcTemplate is an RTC configuration with all but the Node's own servers written already.
type rtcTemplate struct {
	extras int
	extra  []byte // extra servers as JSON objects, separated by commas
	tail   []byte // what follows iceServers' closing bracket
}

func newRTCTemplate(rtc RTC) (rtcTemplate, error) {
	if err := rtc.validate(); err != nil {
		return rtcTemplate{}, err
	}
	t := rtcTemplate{extras: len(rtc.ExtraICEServers)}
	for i, extra := range rtc.ExtraICEServers {
		if i > 0 {
			t.extra = append(t.extra, ',')
		}
		t.extra = appendServer(t.extra, extra.URLs, extra.Username, extra.Password)
	}
	t.tail = append(t.tail, `,"iceTransportPolicy":`...)
	t.tail = strictjson.AppendString(t.tail, rtc.ICETransportPolicy)
	t.tail = append(t.tail, `,"bundlePolicy":`...)
	t.tail = strictjson.AppendString(t.tail, rtc.BundlePolicy)
	t.tail = append(t.tail, `,"rtcpMuxPolicy":`...)
	t.tail = strictjson.AppendString(t.tail, rtc.RTCPMuxPolicy)
	t.tail = append(t.tail, `,"iceCandidatePoolSize":`...)
	t.tail = strconv.AppendInt(t.tail, int64(rtc.ICECandidatePoolSize), 10)
	t.tail = append(t.tail, '}')
	return t, nil
}

// appendAnswer appends {"rtcConfiguration": R, …the fields of R…}: the Broker's code reads the former, its README shows
// the latter.
func (t *rtcTemplate) appendAnswer(dst []byte, ice ICE) []byte {
	dst = append(dst, `{"rtcConfiguration":`...)
	start := len(dst)
	dst = append(dst, `{"iceServers":[`...)
	comma := false
	separate := func() {
		if comma {
			dst = append(dst, ',')
		}
		comma = true
	}
	if len(ice.STUN) > 0 {
		separate()
		dst = appendServer(dst, ice.STUN, "", "")
	}
	if len(ice.TURN) > 0 {
		separate()
		dst = appendServer(dst, ice.TURN, ice.Username, ice.Password)
	}
	if t.extras > 0 {
		separate()
		dst = append(dst, t.extra...)
	}
	dst = append(append(dst, ']'), t.tail...)
	end := len(dst)
	dst = append(dst, ',')
	return append(dst, dst[start+1:end]...)
}

// appendServer appends an entry of iceServers. Nodes read password, browsers credential.
func appendServer(dst []byte, urls []string, username, password string) []byte {
	dst = append(dst, `{"urls":[`...)
	for i, url := range urls {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strictjson.AppendString(dst, url)
	}
	dst = append(dst, ']')
	if username != "" {
		dst = append(dst, `,"username":`...)
		dst = strictjson.AppendString(dst, username)
	}
	if password != "" {
		dst = append(dst, `,"password":`...)
		dst = strictjson.AppendString(dst, password)
		dst = append(dst, `,"credential":`...)
		dst = strictjson.AppendString(dst, password)
	}
	return append(dst, '}')
}
