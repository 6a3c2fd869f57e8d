package adminapi

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBaseURL(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8084": "http://127.0.0.1:8084", ":8084": "http://127.0.0.1:8084", "0.0.0.0:1": "http://127.0.0.1:1",
		"[::]:8084": "http://[::1]:8084", "[2001:db8::1]:8084": "http://[2001:db8::1]:8084",
	} {
		if got, err := BaseURL("admin.listen", listen); err != nil || got != want {
			t.Errorf("BaseURL(%q) = %q, %v", listen, got, err)
		}
	}
	if _, err := BaseURL("redis.listen", "nonsense"); err == nil || !strings.HasPrefix(err.Error(), "redis.listen: ") {
		t.Errorf("nonsense: %v", err)
	}
}

// Whatever answers there, a call ends, costs little memory and says what is wrong in one short line.
func TestClientOfAHostileServer(t *testing.T) {
	endless := func(w http.ResponseWriter) {
		for block := bytes.Repeat([]byte("[ "), 1<<15); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		serve func(w http.ResponseWriter)
		call  func(c *Client) error
		want  string
	}{
		"endless":      {endless, func(c *Client) error { return c.Ready(t.Context()) }, "larger than 1 MiB"},
		"endless list": {endless, func(c *Client) error { _, err := c.Nodes(t.Context(), "", 200); return err }, "larger than 32 MiB"},
		"empty status": {func(w http.ResponseWriter) { _, _ = w.Write([]byte("{}")) }, func(c *Client) error { _, err := c.Status(t.Context()); return err }, ErrStranger.Error()},
		"null":         {func(w http.ResponseWriter) { _, _ = w.Write([]byte("null")) }, func(c *Client) error { return c.Ready(t.Context()) }, ErrStranger.Error()},
		"the webhooks": {func(w http.ResponseWriter) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte(`{"error":"no such path"}`))
		}, func(c *Client) error { _, err := c.Bans(t.Context(), 1); return err }, ": " + ErrStranger.Error()},
		"large header": {func(w http.ResponseWriter) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, func(c *Client) error { return c.Ready(t.Context()) }, "headers exceeded"},
		"long complaint": {func(w http.ResponseWriter) {
			w.WriteHeader(500)
			_, _ = w.Write([]byte(`{"error":"` + strings.Repeat(`\n`, 1e5) + `"}`))
		}, func(c *Client) error { return c.Unban(t.Context(), "x") }, `\n\n…`},
		"no HTTP": {func(w http.ResponseWriter) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\x1b[31m" + strings.Repeat("x", 1e5) + "\r\n\r\n"))
				_ = conn.Close()
			}
		}, func(c *Client) error { return c.Ready(t.Context()) }, "xxx…"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.serve(w) }))
			defer server.Close()
			client, err := NewClient(server.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			err = c.call(client)
			if err == nil {
				t.Fatal("no error")
			}
			if text := err.Error(); !strings.Contains(text, c.want) || len(text) > 1500 || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("%.2000q, want %q", text, c.want)
			}
		})
	}
}
