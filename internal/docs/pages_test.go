package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	commands "github.com/crolang-p2p/crolang-aio/internal/cli"
)

// texts are README.md and docs/*.md with their texts.
func texts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, page := range pages(t) {
		all[page] = read(t, page)
	}
	return all
}

// Every key and variable that the documentation names is one.
func TestDocsNameKeys(t *testing.T) {
	known, variables := map[string]bool{}, map[string]bool{commands.DoctorPassword: true}
	for _, c := range commands.Commands() {
		for _, f := range c.Flags {
			if f, ok := f.(cli.DocGenerationFlag); ok {
				for _, name := range f.GetEnvVars() {
					variables[name] = true
				}
			}
		}
	}
	for _, table := range config.Tables() {
		known[table.Name] = true
		for _, k := range table.Keys {
			known[k.Name], variables[k.Env], variables[k.EnvFile] = true, true, true
		}
	}
	key := regexp.MustCompile("`((?:log|public|turn|credentials|hooks|certs|redis|admin)\\.[a-z_.0-9]+)(?: = [^`]*)?`")
	variable := regexp.MustCompile(`\bCROLANG_AIO_[A-Z0-9_]+\b`)
	n := 0
	for file, text := range texts(t) {
		for _, m := range key.FindAllStringSubmatch(text, -1) {
			if n++; !known[m[1]] {
				t.Errorf("%s names the key %s, which there is not", file, m[1])
			}
		}
		for _, name := range variable.FindAllString(text, -1) {
			if n++; !variables[name] {
				t.Errorf("%s names the variable %s, which there is not", file, name)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d were found", n)
	}
}

// Every command and option that the documentation shows is one.
func TestDocsShowCommands(t *testing.T) {
	call := regexp.MustCompile("(?m)(?:^|[ /`$])crolang-aio ([a-z][a-z-]*)((?: [^`\n|>#]*)?)")
	option := regexp.MustCompile(`(?:^| )--([a-z-]+)`)
	blocks := regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	n := 0
	for file, text := range texts(t) {
		for _, block := range blocks.FindAllString(text, -1) {
			for _, m := range call.FindAllStringSubmatch(block, -1) {
				if m[1] == "dev" { // a version in shown output
					continue
				}
				i := slices.IndexFunc(commands.Commands(), func(c *cli.Command) bool { return c.Name == m[1] })
				if n++; i < 0 {
					t.Errorf("%s shows crolang-aio %s, which there is not", file, m[1])
					continue
				}
				names := optionNames(commands.Commands()[i], m[2])
				for _, o := range option.FindAllStringSubmatch(m[2], -1) {
					if !slices.Contains(names, o[1]) {
						t.Errorf("%s shows crolang-aio %s with --%s, which it does not have", file, m[1], o[1])
					}
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d were found", n)
	}
}

// optionNames are those of a command and of the sub-command that its arguments name.
func optionNames(c *cli.Command, args string) []string {
	names := []string{"help"}
	for _, sub := range c.Subcommands {
		if strings.HasPrefix(strings.TrimSpace(args)+" ", sub.Name+" ") {
			names = append(names, optionNames(sub, "")...)
		}
	}
	for _, f := range c.Flags {
		names = append(names, f.Names()...)
	}
	return names
}
