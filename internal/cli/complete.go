package cli

import (
	"context"
	_ "embed" // the shells' scripts
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nearest"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

const (
	// completeName is the hidden command that the shells' scripts call with the words of the command line so far, the last of
	// which is being written.
	completeName = "__complete"
	// files says that the shell shall offer files.
	files = ":file"
	// completeWithin is how long a running server is waited for: somebody has pressed a key.
	completeWithin = time.Second
	// mostOffered is how many Nodes are asked for.
	mostOffered = 500
)

//go:embed shells/crolang-aio.bash
var bashScript string

//go:embed shells/crolang-aio.zsh
var zshScript string

//go:embed shells/crolang-aio.fish
var fishScript string

// shells are those that there is a script for.
var shells = map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}

// shellCommands are those that packages and shells need.
func shellCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "completion", Usage: "print what lets a shell complete commands, options, Nodes and keys", ArgsUsage: "bash|zsh|fish",
			Action: completion, Description: `For this shell only:      . <(crolang-aio completion bash)
For every bash:           crolang-aio completion bash > /etc/bash_completion.d/crolang-aio
For every zsh:            crolang-aio completion zsh > /usr/local/share/zsh/site-functions/_crolang-aio
For your fish:            crolang-aio completion fish > ~/.config/fish/completions/crolang-aio.fish`,
		},
		{Name: "man", Usage: "print the manual page", Action: noArgs(printMan)},
	}
}

func completion(c *cli.Context) error {
	names := []string{"bash", "zsh", "fish"}
	script, ok := shells[c.Args().First()]
	switch {
	case c.NArg() != 1:
		return fmt.Errorf("%w: completion takes one argument: %s", errUsage, strings.Join(names, ", "))
	case !ok:
		if meant := nearest.Of(c.Args().First(), names); meant != "" {
			return fmt.Errorf("%w: there is no completion for %q; did you mean %s?", errUsage, c.Args().First(), meant)
		}
		return fmt.Errorf("%w: there is no completion for %q, only for %s", errUsage, c.Args().First(), strings.Join(names, ", "))
	}
	_, err := io.WriteString(c.App.Writer, script)
	return err
}

// offer is something that a word may become.
type offer struct{ text, about string }

// complete prints what the last of words may become, a line each: the word, a tab, and what it is. It is silent about
// everything that fails.
func complete(ctx context.Context, w io.Writer, commands []*cli.Command, words []string) {
	last := ""
	if n := len(words); n > 0 {
		last = words[n-1]
		words = words[:n-1]
	}
	if n := len(words); n > 0 && words[n-1] == "--" { // what a script puts before a word that may look like an option of its shell
		words = words[:n-1]
	}
	for _, o := range offers(ctx, commands, words, last) {
		if o.text == files {
			fmt.Fprintln(w, files)
			return
		}
		if !strings.HasPrefix(o.text, last) || terminal.Printable(o.text) != o.text {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\n", o.text, terminal.Printable(o.about))
	}
}

func offers(ctx context.Context, commands []*cli.Command, before []string, last string) (all []offer) {
	options, words, err := sortOut(optionsOf(commands), before)
	if err != nil {
		return nil
	}
	path, command := find(commands, words)
	asked := asking{ctx: ctx, file: fileOf(options)}
	if n := len(options); n > 0 && options[n-1].missing {
		return asked.values(command, options[n-1].name)
	}
	if strings.HasPrefix(last, "-") {
		return optionOffers(command)
	}
	below := commands
	if command != nil {
		below = command.Subcommands
	}
	if len(words) == len(path) {
		for _, c := range below {
			if !c.Hidden {
				all = append(all, offer{c.Name, c.Usage})
			}
		}
	}
	if command == nil || len(words) != len(path) {
		return all
	}
	return append(all, asked.arguments(command)...)
}

// fileOf is the configuration that the options name, else that of the environment.
func fileOf(options []option) string {
	for _, o := range options {
		if (o.name == "config" || o.name == "c") && !o.missing {
			return o.value
		}
	}
	return os.Getenv(configVariable)
}

func optionOffers(command *cli.Command) (all []offer) {
	if command == nil {
		return []offer{{"--help", "show help"}, {"--version", "print version, commit and Go version"}}
	}
	for _, f := range command.Flags {
		if f, ok := f.(cli.DocGenerationFlag); ok {
			_, usage := placeholder(f.GetUsage())
			all = append(all, offer{dashed(f.(cli.Flag).Names()[0]), usage})
		}
	}
	return append(all, offer{"--help", "show help"})
}

var quotedName = regexp.MustCompile("`([^`]*)`")

// placeholder is what an option's help text calls its value, such as FILE, and the text without quotes.
func placeholder(usage string) (name, text string) {
	if m := quotedName.FindStringSubmatch(usage); m != nil {
		return m[1], quotedName.ReplaceAllString(usage, "$1")
	}
	return "", usage
}

// asking finds what arguments and values may be, from the running server where it knows.
type asking struct {
	ctx  context.Context
	file string // of the configuration
}

// values are those of an option.
func (a asking) values(command *cli.Command, option string) []offer {
	if command == nil {
		return nil
	}
	i := slices.IndexFunc(command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), option) })
	if i < 0 {
		return nil
	}
	f, ok := command.Flags[i].(cli.DocGenerationFlag)
	if !ok {
		return nil
	}
	name, _ := placeholder(f.GetUsage())
	return a.named(name)
}

// arguments are those of a command.
func (a asking) arguments(command *cli.Command) []offer {
	if command.Name == "unban" {
		return a.bans()
	}
	return a.named(command.ArgsUsage)
}

// named are what the placeholders of help texts stand for.
func (a asking) named(placeholder string) (all []offer) {
	switch placeholder {
	case "FILE":
		return []offer{{text: files}}
	case "NODE", "OTHER":
		return a.nodes()
	case "ID":
		return a.allocations()
	case "KEY":
		for _, k := range config.Keys() {
			all = append(all, offer{k.Name, k.Type})
		}
		return all
	case "DURATION":
		return nil
	}
	for word := range strings.SplitSeq(placeholder, "|") {
		if strings.Contains(placeholder, "|") {
			all = append(all, offer{text: word})
		}
	}
	return all
}

// answer is what the running server answers, empty if there is none, or it takes too long.
func answer[T any](a asking, ask func(ctx context.Context, client *adminapi.Client) (T, error)) (got T) {
	client, err := clientOf(a.file)
	if err != nil {
		return got
	}
	ctx, cancel := context.WithTimeout(a.ctx, completeWithin)
	defer cancel()
	if l, err := ask(ctx, client); err == nil {
		return l
	}
	return got
}

func (a asking) nodes() (all []offer) {
	for _, n := range answer(a, func(ctx context.Context, client *adminapi.Client) (adminapi.NodeList, error) {
		return client.Nodes(ctx, "", mostOffered)
	}).Nodes {
		all = append(all, offer{n.Node, strings.TrimPrefix(state(n.Connected, n.Banned), "-")})
	}
	return all
}

func (a asking) bans() (all []offer) {
	for _, b := range answer(a, func(ctx context.Context, client *adminapi.Client) (adminapi.BanList, error) {
		return client.Bans(ctx, mostOffered)
	}).Bans {
		all = append(all, offer{b.Node, b.Reason})
	}
	return all
}

func (a asking) allocations() (all []offer) {
	for _, one := range answer(a, func(ctx context.Context, client *adminapi.Client) (adminapi.AllocationList, error) {
		return client.Allocations(ctx, "", "", mostOffered)
	}).Allocations {
		all = append(all, offer{one.ID, one.Node})
	}
	return all
}
