package cli

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestFamiliar(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"x --version", "x version"},
		{"x -v --json", "x version --json"},
		{"x help", "x --help"},
		{"x help config check", "x config check --help"},
		{"x ban help", "x ban help"},
		{"x", "x"},
	} {
		if got := strings.Join(familiar(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestArrange(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"x credential Alice --ttl 5m --json", "x credential --ttl 5m --json -- Alice"},
		{"x credential --json Alice", "x credential --json -- Alice"},
		{"x ban Mallory --for=1h --reason spam", "x ban --for=1h --reason spam -- Mallory"},
		{"x ban --reason spam -- --odd-id", "x ban --reason spam -- --odd-id"},
		{"x config check --config f", "x config check --config f"},
		{"x serve -c f", "x serve -c f"},
		{"x --config f serve", "x serve --config f"},
		{"x --json config check --config f", "there is no option --json"},
		{"x config --config f check", "x config check --config f"},
		{"x --help", "x"},
		{"x ban --help", "x ban --help"},
		{"x", "x"},
		{"x nonsense --config f", "x nonsense"},
		{"x --nonsense", "there is no option --nonsense, see crolang-aio --help"},
		{"x ban Alice --reason", "--reason needs a value"},
		{"x credential Alice --ttl", "--ttl needs a value"},
		{"x serve --cnofig f", "there is no option --cnofig; did you mean --config?"},
		{"x nodes --json=perhaps", `--json takes no value, got "perhaps"`},
		{"x nodes --json=false", "x nodes --json=false"},
		{"x nodes --=f", `"--=f" is no option`},
	} {
		args, err := arrange(Commands(), strings.Fields(c.in))
		got := strings.Join(args, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

// An option takes a value in every command or in none, so that it can be read before the command is known.
func TestOptionsAreOfOneKind(t *testing.T) {
	all := optionsOf(Commands())
	var look func(commands []*cli.Command)
	look = func(commands []*cli.Command) {
		for _, c := range commands {
			for _, f := range c.Flags {
				_, isBool := f.(*cli.BoolFlag)
				for _, name := range f.Names() {
					if all[name] == isBool {
						t.Errorf("--%s of %s takes a value here and none elsewhere", name, c.Name)
					}
				}
			}
			look(c.Subcommands)
		}
	}
	look(Commands())
}
