// Package stunmsg is the wire format of STUN (RFC 8489) and TURN (RFC 8656): it reads and writes messages in the
// caller's own buffers and allocates nothing on the paths that strangers or media reach.
//
// It knows no state and no policy. Everything in it is safe for concurrent use on different values.
package stunmsg

import "fmt"

// Type is the message type as on the wire: method and class, interleaved as RFC 8489 §5 draws it.
type Type uint16

// The classes of RFC 8489 §5, as bits of a Type.
const (
	classMask       Type = 0x0110
	classRequest    Type = 0x0000
	classIndication Type = 0x0010
	classSuccess    Type = 0x0100
	classError      Type = 0x0110
)

// The messages that a TURN server meets. RFC 6062's three are named only so that they can be refused by name.
const (
	BindingRequest          Type = 0x0001
	BindingIndication       Type = 0x0011
	AllocateRequest         Type = 0x0003
	RefreshRequest          Type = 0x0004
	SendIndication          Type = 0x0016
	DataIndication          Type = 0x0017
	CreatePermissionRequest Type = 0x0008
	ChannelBindRequest      Type = 0x0009
	ConnectRequest          Type = 0x000a
	ConnectionBindRequest   Type = 0x000b
)

// IsRequest reports whether t is a request, which is answered.
func (t Type) IsRequest() bool { return t&classMask == classRequest }

// IsIndication reports whether t is an indication, which is never answered.
func (t Type) IsIndication() bool { return t&classMask == classIndication }

// Success is the success response to the request t.
func (t Type) Success() Type { return t&^classMask | classSuccess }

// Error is the error response to the request t.
func (t Type) Error() Type { return t&^classMask | classError }

// String is the method's name in the RFCs, or its number.
func (t Type) String() string {
	switch t &^ classMask {
	case BindingRequest:
		return "Binding"
	case AllocateRequest:
		return "Allocate"
	case RefreshRequest:
		return "Refresh"
	case SendIndication &^ classMask:
		return "Send"
	case DataIndication &^ classMask:
		return "Data"
	case CreatePermissionRequest:
		return "CreatePermission"
	case ChannelBindRequest:
		return "ChannelBind"
	case ConnectRequest:
		return "Connect"
	case ConnectionBindRequest:
		return "ConnectionBind"
	}
	return fmt.Sprintf("method 0x%03x", uint16(t&^classMask))
}

// Attribute types (RFC 8489 §14, RFC 8656 §18, RFC 5780 §7).
const (
	AttrMappedAddress           uint16 = 0x0001
	AttrChangeRequest           uint16 = 0x0003
	AttrUsername                uint16 = 0x0006
	AttrMessageIntegrity        uint16 = 0x0008
	AttrErrorCode               uint16 = 0x0009
	AttrUnknownAttributes       uint16 = 0x000a
	AttrChannelNumber           uint16 = 0x000c
	AttrLifetime                uint16 = 0x000d
	AttrXORPeerAddress          uint16 = 0x0012
	AttrData                    uint16 = 0x0013
	AttrRealm                   uint16 = 0x0014
	AttrNonce                   uint16 = 0x0015
	AttrXORRelayedAddress       uint16 = 0x0016
	AttrRequestedAddressFamily  uint16 = 0x0017
	AttrEvenPort                uint16 = 0x0018
	AttrRequestedTransport      uint16 = 0x0019
	AttrDontFragment            uint16 = 0x001a
	AttrMessageIntegritySHA256  uint16 = 0x001c
	AttrPasswordAlgorithm       uint16 = 0x001d
	AttrUserhash                uint16 = 0x001e
	AttrXORMappedAddress        uint16 = 0x0020
	AttrReservationToken        uint16 = 0x0022
	AttrPadding                 uint16 = 0x0026
	AttrResponsePort            uint16 = 0x0027
	AttrAdditionalAddressFamily uint16 = 0x8000
	AttrAddressErrorCode        uint16 = 0x8001
	AttrPasswordAlgorithms      uint16 = 0x8002
	AttrICMP                    uint16 = 0x8004
	AttrSoftware                uint16 = 0x8022
	AttrAlternateServer         uint16 = 0x8023
	AttrFingerprint             uint16 = 0x8028
	AttrMobilityTicket          uint16 = 0x8030 // RFC 8016
	AttrResponseOrigin          uint16 = 0x802b
	AttrOtherAddress            uint16 = 0x802c
	// AttrAdditionalAddressFamilyDraft is AttrAdditionalAddressFamily as coturn's library has it up to 4.6, by a draft. No RFC
	// has given the number to anything else.
	AttrAdditionalAddressFamilyDraft uint16 = 0x8032
)

// The flags of CHANGE-REQUEST (RFC 5780 §7.2), in its last byte.
const (
	ChangeIP   = 0x04
	ChangePort = 0x02
)

// Sizes and bounds of the wire format, in bytes.
const (
	HeaderSize      = 20    // of a STUN message
	ChannelHeader   = 4     // of a ChannelData message
	MaxFrame        = 65535 // of any message, read or made, with its padding: also for who computes in 16 bits
	MinChannel      = 0x4000
	MaxChannel      = 0x7fff // RFC 5766 §11; clients of RFC 8656 §12 end at 0x4FFF
	magicCookie     = 0x2112a442
	integritySize   = 24
	integrity256    = 36
	fingerprintSize = 8
)

// Address families of XOR-*-ADDRESS, REQUESTED- and ADDITIONAL-ADDRESS-FAMILY, and ADDRESS-ERROR-CODE.
const (
	FamilyIPv4 = 1
	FamilyIPv6 = 2
)
