package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/config"
)

// What is wrong with the files of [certs.acme] stands at their lines; nothing is asked of them while it is off.
func TestACMEFilesHaveLines(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.toml")
	text := `
[certs.acme]
enabled = true
ca_file = "c.toml"
challenges = ["dns-01"]
dns_command = "none"
`
	load := func(text string) error {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file, config.WithEnviron(nil))
		return err
	}
	err := load(text)
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "c.toml:4: certs.acme.ca_file: ") ||
		!strings.Contains(err.Error(), "c.toml:6: certs.acme.dns_command: ") {
		t.Error(err)
	}
	if err := load(strings.Replace(text, "true", "false", 1)); err != nil {
		t.Error(err)
	}
}
