package replicas

import (
	"encoding/hex"
	"testing"
	"unicode/utf8"
)

// What @socket.io/redis-adapter 8.3 publishes, and what this package does.
func TestDecode(t *testing.T) {
	// ["aBcDeF", {type: 2, data: ["EV", "é\n"], nsp: "/"}, {rooms: ["r"], except: ["x"], flags: {}}] by notepack.io
	adapters, err := hex.DecodeString("93a661426344654683a47479706502a46461746192a24556a3c3a90aa36e7370a12f83a5726f6f6d7391a172a665786365707491a178a5666c61677380")
	if err != nil {
		t.Fatal(err)
	}
	uid, event, text, err := decode(string(adapters))
	if err != nil || uid != "aBcDeF" || event != "EV" || string(text) != "é\n" {
		t.Errorf("%q %q %q %v", uid, event, text, err)
	}
	r := &Replicas{uid: "aBcDeF"}
	ours, err := r.encode("r", "x", "EV", []byte("é\n"))
	if err != nil || hex.EncodeToString(ours) != hex.EncodeToString(adapters) {
		t.Errorf("ours is\n%x, theirs\n%x; %v", ours, adapters, err)
	}
}

// Garbage on a channel is no message, and ends nothing.
func FuzzDecode(f *testing.F) {
	r := &Replicas{uid: "aBcDeF"}
	ours, _ := r.encode("r", "x", "EV", []byte("text"))
	f.Add(string(ours))
	f.Add("\x93\xa1a\xdf\xff\xff\xff\xff")
	f.Add("\xdd\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, payload string) {
		delivered := &Replicas{uid: "another", cfg: Config{Deliver: func(_, _ string, text []byte) {
			if !utf8.Valid(text) {
				t.Fatalf("%q is no text", text)
			}
		}}}
		delivered.take("socket.io#/#r#", payload)
		delivered.take(payload, payload)
	})
}
