package control

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

const (
	// ticketText and ticketTag, in bytes, give tickets of 32 characters: coturn's client keeps no more, and as a text.
	ticketText = 5 + 4 // session and serial
	ticketTag  = 15
)

// tickets seals and opens the mobility tickets of RFC 8016, with keys of this process: no allocation outlives it. A ticket
// names an allocation, and with it the Node, and which of its tickets it is. It is encrypted under its own tag as of RFC
// 5297 (SIV), so that the same ticket is the same text again, as a retransmitted request needs. Nothing is kept of a ticket
// but what the allocation knows of the last two.
type tickets struct {
	mac   [32]byte
	block cipher.Block
}

func newTickets() (*tickets, error) {
	t := &tickets{}
	var key [32]byte
	_, _ = rand.Read(t.mac[:]) // never fails: crypto/rand ends the process rather than return an error
	_, _ = rand.Read(key[:])
	var err error
	t.block, err = aes.NewCipher(key[:])
	return t, err
}

// seal returns the ticket with a serial number of an allocation.
func (t *tickets) seal(session uint64, serial uint32) string {
	var raw [ticketTag + ticketText]byte
	text := raw[ticketTag:]
	text[0] = byte(session >> 32)
	binary.BigEndian.PutUint32(text[1:], uint32(session))
	binary.BigEndian.PutUint32(text[5:], serial)
	copy(raw[:], t.tag(text))
	t.mask(&raw)
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// open returns what a ticket names, or reports that this process made no such one.
func (t *tickets) open(ticket []byte) (session uint64, serial uint32, ok bool) {
	var raw [ticketTag + ticketText]byte
	if len(ticket) != base64.RawURLEncoding.EncodedLen(len(raw)) {
		return 0, 0, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], ticket); err != nil {
		return 0, 0, false
	}
	t.mask(&raw)
	text := raw[ticketTag:]
	if !hmac.Equal(t.tag(text), raw[:ticketTag]) {
		return 0, 0, false
	}
	return uint64(text[0])<<32 | uint64(binary.BigEndian.Uint32(text[1:])), binary.BigEndian.Uint32(text[5:]), true
}

func (t *tickets) tag(text []byte) []byte {
	mac := hmac.New(sha256.New, t.mac[:])
	mac.Write(text)
	return mac.Sum(nil)[:ticketTag]
}

// mask encrypts the text behind a tag, or decrypts it.
func (t *tickets) mask(raw *[ticketTag + ticketText]byte) {
	var block [aes.BlockSize]byte
	copy(block[:], raw[:ticketTag])
	t.block.Encrypt(block[:], block[:])
	for i := range ticketText {
		raw[ticketTag+i] ^= block[i]
	}
}
