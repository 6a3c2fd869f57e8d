package engineio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// describe prints what a message was read as.
func describe(p Packet, k Kind, err error) string {
	switch {
	case err != nil:
		return "end"
	case k == Ignored:
		return "ignored"
	case k == Pong:
		return "pong"
	}
	id := "-"
	if p.HasID {
		id = string(appendNumber(nil, p.ID))
	}
	return fmt.Sprintf("%d %s %s %s", p.Type, p.Namespace, id, p.Data)
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"": "end", "2": "end", "2probe": "end", "3": "pong", "3x": "pong", "1": "ignored", "6": "ignored", "0{}": "ignored", "5": "ignored",
		"7": "end", "x": "end", "4": "end", "47": "end", "4x": "end",
		"40": "0  - ", `40{"a":1}`: `0  - {"a":1}`, "40[]": "end", "40null": "end", "40x": "end", "40{": "end",
		"40/admin,": "0 /admin - ", "40/admin": "0 /admin - ", "40/,": "0  - ", `40/x,{"a":1}`: `0 /x - {"a":1}`,
		"41": "1  - ", "41[]": "end", "41/x,": "1 /x - ",
		`42["A","b"]`: `2  - ["A","b"]`, `4212["A"]`: `2  12 ["A"]`, "42": "2  - ", "427": "2  7 ", `42/x,7["A"]`: `2 /x 7 ["A"]`,
		`42[]`: "end", `42{"a":1}`: "end", `42"A"`: "end", `42[null]`: "end", `42[3]`: "2  - [3]", `42[-1]`: "2  - [-1]", `42[["A"]]`: "end",
		`42["connect"]`: "end", `42["\u0063onnect"]`: "end", `42["disconnecting",1]`: "end", `42["connect "]`: `2  - ["connect "]`,
		`42["A"`: "end", `42["A"]]`: "end", `42["A",]`: "end",
		`43["x"]`: `3  - ["x"]`, `430["x"]`: `3  0 ["x"]`, `43{}`: "end", `44"x"`: `4  - "x"`, `44[]`: "end",
		`42007["A"]`: `2  7 ["A"]`, `429007199254740993["A"]`: `2  9007199254740992 ["A"]`, `421000000000000000000000["A"]`: `2  1e+21 ["A"]`,
		"45-[]": "end", `451-["A",{"_placeholder":true,"num":0}]`: "ignored", `450-["A"]`: `2  - ["A"]`, `45["A"]`: "end", `451["A"]`: "end",
		"bAAAA": "end",
	} {
		var d Decoder
		if got := describe(d.Text([]byte(in))); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

func TestAttachments(t *testing.T) {
	var d Decoder
	if _, _, err := d.Binary(); !errors.Is(err, ErrProtocol) {
		t.Error("binary out of nowhere passed")
	}
	message := []byte(`452-5["A",{"_placeholder":true,"num":0}]`)
	if _, k, err := d.Text(message); k != Ignored || err != nil {
		t.Fatal(k, err)
	}
	clear(message) // the connection's buffer is used again
	if _, k, err := d.Text([]byte("3")); k != Pong || err != nil {
		t.Error("no pong between attachments", k, err)
	}
	if _, k, err := d.Binary(); k != Ignored || err != nil {
		t.Fatal(k, err)
	}
	p, k, err := d.Text([]byte("bAAAA"))
	if got := describe(p, k, err); got != `2  5 ["A",{"_placeholder":true,"num":0}]` || !p.Binary {
		t.Error(got)
	}
	if _, _, err := d.Text([]byte(`42["A"]`)); err != nil {
		t.Error("nothing may follow", err)
	}
	_, _, _ = d.Text([]byte(`451-["A"]`))
	if _, _, err := d.Text([]byte(`42["A"]`)); err == nil {
		t.Error("text in place of an attachment passed")
	}
	var long Decoder
	if _, _, err := long.Text([]byte(`451-5["A","` + strings.Repeat("x", maxPending) + `"]`)); err == nil {
		t.Error("a long packet is kept for an attachment that may never come")
	}
	if _, _, err := long.Text([]byte(`450-5["A","` + strings.Repeat("x", maxPending) + `"]`)); err != nil {
		t.Error("one that waits for none did not pass", err)
	}
}

func TestWrite(t *testing.T) {
	for got, want := range map[string]string{
		string(AppendOpen(nil, "abc")):                                       `0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`,
		string(AppendConnected(nil, "abc")):                                  `40{"sid":"abc"}`,
		string(AppendRefused(nil, nil, `say "no"`)):                          `44{"message":"say \"no\""}`,
		string(AppendRefused(nil, []byte("/x"), "no")):                       `44/x,{"message":"no"}`,
		string(AppendEvent(nil, "E", []byte(`"t"`))):                         `42["E","t"]`,
		string(AppendAck(nil, []byte("12"), "OK")):                           `4312["OK"]`,
		string(AppendAck(nil, bytes.Repeat([]byte("9"), 400), []byte("OK"))): `43Infinity["OK"]`,
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Whatever comes, nothing panics, and what is read as an event is one for encoding/json too.
func FuzzText(f *testing.F) {
	for _, s := range []string{"40", `42/a,12["A",{"b":[1]}]`, `451-["A",{}]`, `42["connect"]`, "3", "b", `43Infinity[]`, `4290071992547409930["A"]`} {
		f.Add([]byte(s), []byte("3"))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var d Decoder
		for _, b := range [][]byte{one, two, one} {
			if !utf8.Valid(b) {
				return
			}
			p, k, err := d.Text(b)
			if err != nil {
				return
			}
			if k != Message || len(p.Data) == 0 {
				continue
			}
			if !json.Valid(p.Data) && bytes.Count(p.Data, []byte("["))+bytes.Count(p.Data, []byte("{")) < 10_000 {
				t.Fatalf("%q has data that are no JSON", b)
			}
			if p.Type != Event {
				continue
			}
			name, args, n := p.Name()
			var all []json.RawMessage
			if json.Unmarshal(p.Data, &all) != nil {
				continue
			}
			if len(all) != n+1 || string(all[0]) != string(name) || (n > 0 && string(all[1]) != string(args[0])) {
				t.Fatalf("%q is read as %q %q, %d", b, name, args, n)
			}
			ack := AppendAck(nil, p.ID, "OK")
			if !utf8.Valid(ack) {
				t.Fatalf("acknowledgement %q", ack)
			}
		}
	})
}
