package hooks

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// ICEServer is an entry of iceServers that every Node is given.
type ICEServer struct {
	URLs               []string
	Username, Password string // left out if empty
}

// RTC is the part of an RTC configuration that is the same for every Node. An empty policy takes the default
// given with it.
type RTC struct {
	ICETransportPolicy   string // all (default), relay, nohost, none
	BundlePolicy         string // max-bundle (default), balanced, max-compat
	RTCPMuxPolicy        string // require (default), negotiate
	ICECandidatePoolSize int    // 0 to 255
	ExtraICEServers      []ICEServer
}

// ErrRTC is the kind of every error of NewDecider and [Decider.Prepare].
var ErrRTC = errors.New("impossible RTC configuration")

var errNoServers = fmt.Errorf("%w: neither a TURN listener nor hooks.rtc.extra_ice_servers gives an ICE server: add udp or tcp to turn.transports, or a certificate that clients verify", ErrRTC)

func (c *RTC) validate() error {
	oneOf := func(key string, value *string, allowed ...string) error {
		if *value == "" {
			*value = allowed[0]
		}
		if !slices.Contains(allowed, *value) {
			return fmt.Errorf("%w: hooks.rtc.%s is %q, must be one of %s", ErrRTC, key, *value, strings.Join(allowed, ", "))
		}
		return nil
	}
	errs := []error{
		oneOf("ice_transport_policy", &c.ICETransportPolicy, "all", "relay", "nohost", "none"),
		oneOf("bundle_policy", &c.BundlePolicy, "max-bundle", "balanced", "max-compat"),
		oneOf("rtcp_mux_policy", &c.RTCPMuxPolicy, "require", "negotiate"),
	}
	if c.ICECandidatePoolSize < 0 || c.ICECandidatePoolSize > 255 {
		errs = append(errs, fmt.Errorf("%w: hooks.rtc.ice_candidate_pool_size is %d, must be 0 to 255", ErrRTC, c.ICECandidatePoolSize))
	}
	for i, extra := range c.ExtraICEServers {
		if len(extra.URLs) == 0 {
			errs = append(errs, fmt.Errorf("%w: hooks.rtc.extra_ice_servers: entry %d has no urls", ErrRTC, i+1))
		}
	}
	return errors.Join(errs...)
}

// rtcTemplate is an RTC configuration with all but the Node's own servers written already.
type rtcTemplate struct {
	extras int
	extra  []byte // extra servers as JSON objects, separated by commas
	tail   []byte // what follows iceServers' closing bracket
}

func newRTCTemplate(rtc RTC) (*rtcTemplate, error) {
	if err := rtc.validate(); err != nil {
		return nil, err
	}
	t := &rtcTemplate{extras: len(rtc.ExtraICEServers)}
	for i, extra := range rtc.ExtraICEServers {
		if i > 0 {
			t.extra = append(t.extra, ',')
		}
		t.extra = appendServer(t.extra, [2]*URLs{NewURLs(extra.URLs...)}, extra.Username, extra.Password)
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
	dst = t.append(dst, ice)
	end := len(dst)
	dst = append(dst, ',')
	return append(dst, dst[start+1:end]...)
}

// wordsOf is what the names of members and the brackets of an RTC configuration take, at most.
const wordsOf = 160

// append appends the RTC configuration alone.
func (t *rtcTemplate) append(dst []byte, ice ICE) []byte {
	stun, turn := length(ice.STUN), length(ice.TURN)
	dst = slices.Grow(dst, stun+turn+len(ice.Username)+2*len(ice.Password)+len(t.extra)+len(t.tail)+wordsOf)
	dst = append(dst, `{"iceServers":[`...)
	comma := false
	separate := func() {
		if comma {
			dst = append(dst, ',')
		}
		comma = true
	}
	if stun > 0 {
		separate()
		dst = appendServer(dst, ice.STUN, "", "")
	}
	if turn > 0 {
		separate()
		dst = appendServer(dst, ice.TURN, ice.Username, ice.Password)
	}
	if t.extras > 0 {
		separate()
		dst = append(dst, t.extra...)
	}
	return append(append(dst, ']'), t.tail...)
}

// appendServer appends an entry of iceServers. Nodes read password, browsers credential.
func appendServer(dst []byte, urls [2]*URLs, username, password string) []byte {
	dst = append(dst, `{"urls":[`...)
	if urls[0] != nil {
		dst = append(dst, urls[0].list...)
	}
	if urls[1] != nil {
		if urls[0] != nil {
			dst = append(dst, ',')
		}
		dst = append(dst, urls[1].list...)
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
