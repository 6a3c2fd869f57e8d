package control

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// family is REQUESTED-ADDRESS-FAMILY.
func family(f byte) func(*stunmsg.Builder) {
	return func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{f, 0, 0, 0}) }
}

// refresh asks for so many seconds for the address of one family.
func refresh(t *testing.T, c *turnclient.Client, f byte, seconds uint32) error {
	t.Helper()
	_, err := c.Do(within(t), stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
		family(f)(w.Uint32(stunmsg.AttrLifetime, seconds))
	})
	return err
}

func allocateBoth(t *testing.T, c *turnclient.Client) turnclient.Allocation {
	t.Helper()
	a, err := c.Allocate(within(t), turnclient.Both)
	if err != nil || !a.Relayed.Addr().Is4() || !a.Also.Addr().Is6() {
		t.Fatalf("got %+v, %v", a, err)
	}
	return a
}

// A client has an address in each family and data goes by both; it counts as one allocation, and each address can be
// given back alone.
func TestBothFamilies(t *testing.T) {
	for gone, f := range []byte{stunmsg.FamilyIPv4, stunmsg.FamilyIPv6} {
		t.Run(fmt.Sprint("family ", f, " is given back"), func(t *testing.T) {
			r := newRig(t, settings(Settings{AllocationsPerNode: 1}))
			c := r.client(t, "n", time.Hour)
			a := allocateBoth(t, c)
			relayed := [2]netip.AddrPort{a.Relayed, a.Also}
			wantCode(t, "one more", allocateErr(t, r.client(t, "n", time.Hour)), 486)
			if all := r.Allocations(); len(all) != 1 || all[0].Relayed != a.Relayed || all[0].Also != a.Also {
				t.Errorf("listed as %+v", all)
			}
			var peers [2]netip.AddrPort
			for i, ip := range []string{"127.0.0.1", "::1"} {
				sock, peer := udpPeer(t, ip)
				peers[i] = peer
				if err := c.Bind(within(t), 0x4000+uint16(i), peer); err != nil {
					t.Fatal(err)
				}
				if err := c.SendChannel(0x4000+uint16(i), []byte("up")); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 10)
				if n, from, err := sock.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "up" || from != relayed[i] {
					t.Fatalf("the peer got %q from %v: %v", buf[:n], from, err)
				}
			}
			// A number that the one family has is no number for the other. Its answer comes after what was sent has been counted.
			wantCode(t, "a channel of the other family", c.Bind(within(t), 0x4000+uint16(gone), peers[1-gone]), 400)
			if all := r.Allocations()[0]; all.Channels != 2 || all.Permissions != 2 || all.Stats.Up.Datagrams != 2 {
				t.Errorf("listed as %+v", all)
			}
			if len(r.Toward("n", []netip.Addr{netip.IPv6Loopback()})) != 1 {
				t.Error("it does not lead to its IPv6 peer")
			}

			if err := refresh(t, c, f, 0); err != nil {
				t.Fatal(err)
			}
			left := relayed[1-gone]
			if all := r.Allocations(); len(all) != 1 || all[0].Relayed != left || all[0].Also.IsValid() || all[0].Channels != 1 {
				t.Errorf("listed as %+v", all)
			}
			wantCode(t, "what is gone, again", refresh(t, c, f, 0), 443)
			wantCode(t, "what is gone, for longer", refresh(t, c, f, 600), 443)
			wantCode(t, "a peer of that family", c.Permit(within(t), peers[gone]), 443)
			wantCode(t, "peers of both", c.Permit(within(t), peers[1-gone], peers[gone]), 443)
			wantCode(t, "a channel of that family", c.Bind(within(t), 0x4005, peers[gone]), 443)
			wantCode(t, "one more", allocateErr(t, r.client(t, "n", time.Hour)), 486)
			if err := c.Bind(within(t), 0x4000+uint16(gone), netip.AddrPortFrom(peers[1-gone].Addr(), 9)); err != nil {
				t.Errorf("the number of a channel that went with its family: %v", err)
			}
			if _, err := c.Refresh(within(t), time.Minute); err != nil {
				t.Fatal(err)
			}
			other := [2]byte{stunmsg.FamilyIPv4, stunmsg.FamilyIPv6}[1-gone]
			if err := refresh(t, c, other, 600); err != nil {
				t.Fatal(err)
			}
			if err := refresh(t, c, other, 0); err != nil || r.Live() != 0 {
				t.Errorf("the last: %v, %d live", err, r.Live())
			}
			wantCode(t, "nothing is left", refresh(t, c, other, 0), 437)
			if !r.nodes.noted("n: allocation " + a.Relayed.String() + " and " + a.Also.String() + " ended: " + causeReleased) {
				t.Errorf("the why-record has %v", r.nodes.notes)
			}
			allocate(t, c)
		})
	}
}

// Each address has its own lifetime: the one that is not refreshed ends alone.
func TestLifetimeOfOneFamily(t *testing.T) {
	r := newRig(t, settings(Settings{AllocationsPerNode: 1, Lifetime: 2 * time.Second}))
	c := r.client(t, "n", time.Hour)
	a := allocateBoth(t, c)
	eventually(t, "the IPv4 address ends", func() bool {
		if err := refresh(t, c, stunmsg.FamilyIPv6, 600); err != nil {
			t.Fatal(err)
		}
		all := r.Allocations()
		return len(all) == 1 && all[0].Relayed == a.Also && !all[0].Also.IsValid()
	})
	eventually(t, "the IPv6 address ends", func() bool { return r.Live() == 0 })
	if !r.nodes.noted(causeExpired) {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
}

// A ban, a closing and a release end both addresses, and bill what both have relayed.
func TestBothFamiliesEndTogether(t *testing.T) {
	for name, end := range map[string]func(r *rig, c *turnclient.Client) error{
		"ban": func(r *rig, _ *turnclient.Client) error {
			r.nodes.set(&r.nodes.banned, "n", true)
			if n := r.CloseNode("n", causeBanned); n != 1 {
				return fmt.Errorf("%d closed", n)
			}
			return nil
		},
		"closing": func(r *rig, _ *turnclient.Client) error {
			if !r.CloseAllocation(r.Allocations()[0].ID, "closed") {
				return fmt.Errorf("not found")
			}
			return nil
		},
		"release": func(_ *rig, c *turnclient.Client) error { _, err := c.Refresh(within(t), 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			books := newBook()
			r := newRig(t, func(c *Config, _ *relay.Config) { c.Ledger = books })
			c := r.client(t, "n", time.Hour)
			a := allocateBoth(t, c)
			four, to4 := udpPeer(t, "127.0.0.1")
			six, to6 := udpPeer(t, "::1")
			if err := c.Permit(within(t), to4, to6); err != nil {
				t.Fatal(err)
			}
			for sock, to := range map[interface {
				ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
			}]netip.AddrPort{four: to4, six: to6} {
				if err := c.Send(to, make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
				if _, _, err := sock.ReadFromUDPAddrPort(make([]byte, 200)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "both are counted", func() bool { return r.Allocations()[0].Stats.Up.Datagrams == 2 })
			if err := end(r, c); err != nil {
				t.Fatal(err)
			}
			if r.Live() != 0 || r.plane.RelayAt(a.Relayed) != nil || r.plane.RelayAt(a.Also) != nil {
				t.Error("something lives on")
			}
			if u := books.of("n"); u.Up != 100+28+100+48 {
				t.Errorf("billed %+v", u)
			}
			if s := r.Stats(); s.Traffic[relay.UDP].Opened != 1 || s.Traffic[relay.UDP].Total.Up.Datagrams != 2 || s.Ended != 1 {
				t.Errorf("counted %+v", s)
			}
		})
	}
}

// Where only one family can be had, the client gets that one, and is told why there is no other.
func TestOneFamilyOfBoth(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(*relay.Config)
		error string // ADDRESS-ERROR-CODE
		note  string
	}{
		"no IPv6":      {func(c *relay.Config) { c.IPv6 = relay.Family{} }, "\x02\x00\x04\x28", ""},
		"no IPv4":      {func(c *relay.Config) { c.IPv4 = relay.Family{} }, "\x01\x00\x04\x28", ""},
		"no IPv6 port": {func(c *relay.Config) { c.PortMin, c.PortMax = 15000, 15000 }, "\x02\x00\x05\x08", "n: allocation without an IPv6 address: no port of turn.relay_ports is free"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *Config, rc *relay.Config) { c.edit(rc) })
			if c.note != "" {
				if _, err := r.client(t, "other", time.Hour).Allocate(within(t), family(stunmsg.FamilyIPv6)); err != nil {
					t.Fatal(err)
				}
			}
			client := r.client(t, "n", time.Hour)
			_, _ = client.Allocate(within(t), family(9)) // for the nonce
			raw := client.Build(stunmsg.AllocateRequest, func(w *stunmsg.Builder) {
				turnclient.Both(w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}))
			})
			var answers [2]string
			for i := range answers { // the second is a retransmission
				m, err := client.Exchange(within(t), raw)
				if err != nil || m.Type != stunmsg.AllocateRequest.Success() {
					t.Fatal(m, err)
				}
				if v, _ := m.Get(stunmsg.AttrAddressErrorCode); string(v) != c.error {
					t.Errorf("ADDRESS-ERROR-CODE %x", v)
				}
				answers[i] = string(m.Raw)
			}
			if answers[0] != answers[1] {
				t.Error("a retransmission was answered otherwise")
			}
			if all := r.Allocations(); all[len(all)-1].Also.IsValid() || all[len(all)-1].Node != "n" {
				t.Errorf("listed as %+v", all)
			}
			if c.note != "" && !r.nodes.noted(c.note) {
				t.Errorf("the why-record has %v", r.nodes.notes)
			}
			if n := r.Stats().Refusals; n[Refusal{440, "family"}]+n[Refusal{508, "no_port"}] == 0 {
				t.Errorf("counted %v", n)
			}
		})
	}
	r := newRig(t, func(_ *Config, c *relay.Config) { c.PortMin, c.PortMax, c.IPv6 = 15000, 15000, relay.Family{} })
	allocate(t, r.client(t, "other", time.Hour))
	_, err := r.client(t, "n", time.Hour).Allocate(within(t), turnclient.Both)
	wantCode(t, "neither", err, 508)
}

// Families in attributes of every wrong length, value and combination: the RFC's error, and nothing is kept.
func TestBadFamilies(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "n", time.Hour)
	const both, one, even, token = stunmsg.AttrAdditionalAddressFamily, stunmsg.AttrRequestedAddressFamily, stunmsg.AttrEvenPort, stunmsg.AttrReservationToken
	type attr struct {
		t uint16
		v string
	}
	six := "\x02\x00\x00\x00"
	type wrong struct {
		code int
		with []attr
	}
	bad := map[string]wrong{
		"IPv4 in addition":           {400, []attr{{both, "\x01\x00\x00\x00"}}},
		"no family in addition":      {400, []attr{{both, "\x00\x00\x00\x00"}}},
		"another family in addition": {400, []attr{{both, "\x03\x00\x00\x00"}}},
		"one chosen, too":            {400, []attr{{both, six}, {one, six}}},
		"the other chosen, too":      {400, []attr{{one, "\x01\x00\x00\x00"}, {both, six}}},
		"a port reserved, too":       {400, []attr{{both, six}, {even, "\x80"}}},
		"a token, too":               {400, []attr{{both, six}, {token, "12345678"}}},
		"another family":             {440, []attr{{one, "\x03\x00\x00\x00"}}},
		"no family":                  {440, []attr{{one, "\x00\x00\x00\x00"}}},
		"a token and a family":       {400, []attr{{one, six}, {token, "12345678"}}},
	}
	for n := range 9 {
		if n != 4 {
			v := strings.Repeat("\x02", n)
			bad[fmt.Sprint(n, " bytes in addition")] = wrong{400, []attr{{both, v}}}
			bad[fmt.Sprint(n, " bytes")] = wrong{400, []attr{{one, v}}}
		}
	}
	for name, b := range bad {
		_, err := c.Allocate(within(t), func(w *stunmsg.Builder) {
			for _, a := range b.with {
				w.Attr(a.t, []byte(a.v))
			}
		})
		wantCode(t, name, err, b.code)
		if r.Live() != 0 || r.Stats().TableBytes != 0 {
			t.Fatalf("%s: something is kept", name)
		}
	}
	a := allocateBoth(t, c)
	for n := range 9 {
		if n == 4 {
			continue
		}
		for _, lifetime := range []uint32{0, 600} {
			_, err := c.Do(within(t), stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
				w.Uint32(stunmsg.AttrLifetime, lifetime).Attr(one, make([]byte, n))
			})
			wantCode(t, fmt.Sprint("Refresh of a family of ", n, " bytes"), err, 400)
		}
	}
	wantCode(t, "Refresh of no family", refresh(t, c, 0, 0), 443)
	wantCode(t, "Refresh of another family", refresh(t, c, 3, 0), 443)
	if all := r.Allocations(); len(all) != 1 || all[0].Relayed != a.Relayed || all[0].Also != a.Also {
		t.Errorf("a bad Refresh changed something: %+v", all)
	}
	// The number that coturn's clients use means the same.
	const draft = stunmsg.AttrAdditionalAddressFamilyDraft
	_, err := r.client(t, "other", time.Hour).Allocate(within(t), func(w *stunmsg.Builder) { w.Attr(draft, []byte{1, 0, 0, 0}) })
	wantCode(t, "IPv4 in addition, by the draft", err, 400)
	old, err := r.client(t, "other", time.Hour).Allocate(within(t), func(w *stunmsg.Builder) { w.Attr(draft, []byte(six)) })
	if err != nil || !old.Also.Addr().Is6() {
		t.Errorf("by the draft: %+v, %v", old, err)
	}
	// An even port in both, and what is comprehension-optional elsewhere, are no mistakes.
	if _, err := c.Refresh(within(t), 0); err != nil {
		t.Fatal(err)
	}
	a, err = c.Allocate(within(t), func(w *stunmsg.Builder) { turnclient.Both(w.Attr(even, []byte{0})) })
	if err != nil || a.Relayed.Port()%2+a.Also.Port()%2 != 0 || a.Token != nil {
		t.Errorf("even ports: %+v, %v", a, err)
	}
	if _, err := c.Do(within(t), stunmsg.RefreshRequest, turnclient.Both); err != nil {
		t.Error(err)
	}
}
