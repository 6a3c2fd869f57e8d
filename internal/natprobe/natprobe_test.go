package natprobe

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// patience is as long as what does not come is waited for.
const patience = 2 * time.Second

// Every kind of NAT there is, found out about from every place of the server.
func TestNATs(t *testing.T) {
	for _, m := range kinds {
		for _, f := range kinds {
			n := &nat{mapping: m, filtering: f}
			t.Run(n.String(), func(t *testing.T) {
				t.Parallel()
				places := rig(t, new(server), n)
				for i, place := range places {
					if i > 0 && f != EndpointIndependent {
						break // each waits for what does not come
					}
					got, err := Ask(t.Context(), place, patience)
					if err != nil || got.Mapping != m || got.Filtering != f || !got.NAT() || got.ALG || got.Other != places[i^3] {
						t.Errorf("at %s: %+v, %v", place, got, err)
					}
				}
			})
		}
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		got, err := Ask(t.Context(), rig(t, new(server), nil)[0], patience)
		if err != nil || got.Mapping != EndpointIndependent || got.Filtering != EndpointIndependent || got.NAT() {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// What a server cannot, or says wrongly, is not taken for a NAT's doing.
func TestServersThatDoNotHelp(t *testing.T) {
	one := func(a string) func(int) netip.AddrPort {
		return func(int) netip.AddrPort { return netip.MustParseAddrPort(a) }
	}
	for name, c := range map[string]struct {
		s    *server
		want string
	}{
		"no second address":       {&server{other: func(int) netip.AddrPort { return netip.AddrPort{} }}, "does not offer"},
		"one of another family":   {&server{other: one("[::1]:3479")}, "its other address is [::1]:3479"},
		"one that nobody has":     {&server{other: one("0.0.0.0:3479")}, "its other address is 0.0.0.0:3479"},
		"a group":                 {&server{other: one("224.0.0.1:3479")}, "its other address is 224.0.0.1:3479"},
		"no port":                 {&server{other: one("127.0.2.2:0")}, "its other address is 127.0.2.2:0"},
		"refuses CHANGE-REQUEST":  {&server{code: 420}, "refuses to answer from elsewhere (420)"},
		"ignores CHANGE-REQUEST":  {&server{stubborn: true}, "it answers from 127.0.2.1"},
		"says nothing of a place": {&server{silent: [4]bool{true, true, true, true}}, "no answer from 127.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Ask(t.Context(), rig(t, c.s, nil)[0], patience)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v", got, err)
			}
			if silent := errors.Is(err, ErrSilent); silent == errors.Is(err, ErrNotOffered) || silent != c.s.silent[0] {
				t.Errorf("%v is no error of Ask", err)
			}
		})
	}
	t.Run("its other address is down", func(t *testing.T) {
		t.Parallel()
		s := &server{silent: [4]bool{false, false, true, true}}
		got, err := Ask(t.Context(), rig(t, s, &nat{mapping: EndpointIndependent, filtering: EndpointIndependent})[0], patience)
		if err != nil || got.Mapping != Unknown || got.Filtering != Unknown {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("something rewrites addresses", func(t *testing.T) {
		t.Parallel()
		s := &server{plain: netip.MustParseAddrPort("10.0.0.7:5")}
		got, err := Ask(t.Context(), rig(t, s, nil)[0], patience)
		if err != nil || !got.ALG {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestAskEndsWithItsContext(t *testing.T) {
	s := &server{silent: [4]bool{true, true, true, true}}
	ctx, cancel := context.WithCancel(t.Context())
	place := rig(t, s, nil)[0]
	cancel()
	if _, err := Ask(ctx, place, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
