package config

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"github.com/BurntSushi/toml"
)

const hush = "hush-hush-hush"

// holder keeps Secrets in every way that a struct can.
type holder struct {
	Exported Secret
	hidden   Secret
	Pointer  *Secret
	List     []Secret
	Map      map[string]Secret
	Any      any
}

func TestSecretIsNotPrinted(t *testing.T) {
	s := NewSecret(hush)
	values := map[string]any{
		"secret": s, "pointer": &s, "holder": holder{s, s, &s, []Secret{s}, map[string]Secret{"k": s}, s},
		"config": &Config{Credentials: Credentials{Secret: s, PreviousSecrets: []Secret{s}}, Hooks: Hooks{RTC: RTC{
			ExtraICEServers: []ICEServer{{Password: s}},
		}}},
	}
	for name, v := range values {
		for _, verb := range "vsqxXdobcUeEfFgGtTpw" {
			for _, flags := range []string{"", "+", "#", "-20", "020", ".3", " ", "# "} {
				format := "%" + flags + string(verb)
				hides(t, name+" "+format, fmt.Sprintf(format, v))
			}
		}
		hides(t, name+" Sprint", fmt.Sprint(v)+fmt.Sprintln(v))
		hides(t, name+" error", errors.Join(fmt.Errorf("x: %v", v)).Error())
		for encoder, encode := range map[string]func(io.Writer) error{
			"json": func(w io.Writer) error { return json.NewEncoder(w).Encode(v) },
			"xml":  func(w io.Writer) error { return xml.NewEncoder(w).Encode(v) },
			"toml": func(w io.Writer) error { return toml.NewEncoder(w).Encode(map[string]any{"v": v}) },
			"gob":  func(w io.Writer) error { return gob.NewEncoder(w).Encode(v) },
			"template": func(w io.Writer) error {
				return template.Must(template.New("").Parse("{{.}}{{print .}}{{json .}}")).Execute(w, v)
			},
		} {
			var b bytes.Buffer
			err := func() error {
				defer func() { _ = recover() }() // an unknown function of the template, a type that gob does not take
				return encode(&b)
			}()
			hides(t, name+" "+encoder, b.String()+fmt.Sprint(err))
		}
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).With("with", v).WithGroup("g").Info("message", "value", v, slog.Group("group", "value", v))
		}
		hides(t, name+" slog", b.String())
	}
}

func hides(t *testing.T, how, printed string) {
	t.Helper()
	forms := []string{hush, fmt.Sprintf("%x", hush), fmt.Sprintf("%X", hush), "aHVzaC", fmt.Sprint([]byte(hush))}
	for _, form := range forms {
		if strings.Contains(printed, form) {
			t.Errorf("%s shows the secret: %s", how, printed)
		}
	}
}

func TestSecret(t *testing.T) {
	s, none := NewSecret(hush), NewSecret("")
	if !s.IsSet() || none.IsSet() || s.Reveal() != hush || none.Reveal() != "" {
		t.Error("a secret does not hold its text")
	}
	for _, c := range []struct {
		secret Secret
		given  string
		want   bool
	}{{s, hush, true}, {s, hush + "x", false}, {s, "", false}, {none, "", false}, {none, "x", false}, {Secret{}, "", false}} {
		if got := c.secret.Equal(c.given); got != c.want {
			t.Errorf("Equal(%q) of one that is set: %t = %t", c.given, c.secret.IsSet(), got)
		}
	}
	for format, want := range map[string]string{
		"%v": "[secret]|", "%s": "[secret]|", "%q": `"[secret]"|""`, "%#v": `"[secret]"|""`, "%x": "[secret]|", "%d": "[secret]|",
	} {
		if got := fmt.Sprintf(format+"|"+format, s, none); got != want {
			t.Errorf("%s prints %s, want %s", format, got, want)
		}
	}
	b, err := json.Marshal([]Secret{s, none})
	if err != nil || string(b) != `["[secret]",""]` {
		t.Errorf("JSON is %s, %v", b, err)
	}
}
