package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/nearest"
)

// arrange puts the options of a command between it and its arguments, wherever they stand: the library stops at the first
// argument. It checks every option too, so that a mistake is told in this program's words. args begin with the program's
// name.
func arrange(commands []*cli.Command, args []string) ([]string, error) {
	args = familiar(args)
	options, words, err := sortOut(optionsOf(commands), args[1:])
	if err != nil {
		return nil, err
	}
	path, command := find(commands, words)
	if command == nil {
		if len(words) == 0 && len(options) > 0 && !options[0].help() {
			return nil, unknownOption(options[0].name, nil, "")
		}
		return slices.Concat(args[:1], words), nil
	}
	out := append(slices.Clone(args[:1]), path...)
	for _, o := range options {
		if err := o.check(command, strings.Join(path, " ")); err != nil {
			return nil, err
		}
		out = append(out, o.text)
		if o.separate {
			out = append(out, o.value)
		}
	}
	if rest := words[len(path):]; len(rest) > 0 {
		out = append(append(out, "--"), rest...)
	}
	return out, nil
}

// option is one of the command line, with its value.
type option struct {
	text     string // as it was written, without a separate value
	name     string
	value    string
	joined   bool // the value stands behind an equals sign
	separate bool // the value is the next argument
	missing  bool // there is no next argument
}

func (o option) help() bool { return o.name == "help" || o.name == "h" }

// check reports what is wrong with the option for a command.
func (o option) check(c *cli.Command, path string) error {
	if o.help() {
		return nil
	}
	i := slices.IndexFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), o.name) })
	if i < 0 {
		var names []string
		for _, f := range c.Flags {
			names = append(names, f.Names()...)
		}
		return unknownOption(o.name, names, path)
	}
	if _, isBool := c.Flags[i].(*cli.BoolFlag); isBool && o.joined {
		if _, err := strconv.ParseBool(o.value); err != nil {
			return fmt.Errorf("%w: %s takes no value, got %q, see crolang-aio %s --help", errUsage, dashed(o.name), o.value, path)
		}
	}
	if o.missing {
		return fmt.Errorf("%w: %s needs a value, see crolang-aio %s --help", errUsage, dashed(o.name), path)
	}
	return nil
}

func unknownOption(name string, names []string, path string) error {
	if meant := nearest.Of(name, names); meant != "" && len(name) > 1 {
		return fmt.Errorf("%w: there is no option %s; did you mean %s?", errUsage, dashed(name), dashed(meant))
	}
	return fmt.Errorf("%w: there is no option %s, see crolang-aio %s", errUsage, dashed(name), strings.TrimLeft(path+" --help", " "))
}

func dashed(option string) string {
	if len(option) == 1 {
		return "-" + option
	}
	return "--" + option
}

// sortOut takes options and words apart. takesValue has every option that there is.
func sortOut(takesValue map[string]bool, args []string) (options []option, words []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return options, append(words, args[i+1:]...), nil
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			words = append(words, a)
			continue
		}
		o := option{text: a}
		o.name, o.value, o.joined = strings.Cut(strings.TrimLeft(a, "-"), "=")
		if o.name == "" {
			return nil, nil, fmt.Errorf("%w: %q is no option, see crolang-aio --help", errUsage, a)
		}
		if takesValue[o.name] && !o.joined {
			if i++; i < len(args) {
				o.value, o.separate = args[i], true
			} else {
				o.missing = true
			}
		}
		options = append(options, o)
	}
	return options, words, nil
}

// optionsOf returns every option of the commands and of those below them, and whether it takes a value.
func optionsOf(commands []*cli.Command) map[string]bool {
	all := make(map[string]bool)
	for _, c := range commands {
		for _, f := range c.Flags {
			_, isBool := f.(*cli.BoolFlag)
			for _, name := range f.Names() {
				all[name] = !isBool
			}
		}
		maps.Copy(all, optionsOf(c.Subcommands))
	}
	return all
}

// find returns the command that the first words name, and those words; nil if there is none.
func find(commands []*cli.Command, words []string) (path []string, found *cli.Command) {
	for _, w := range words {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(w) })
		if i < 0 {
			break
		}
		found, commands = commands[i], commands[i].Subcommands
		path = append(path, w)
	}
	return path, found
}

// familiar turns what other programs understand into what this one has: --version, and help with or without a command.
func familiar(args []string) []string {
	if len(args) < 2 {
		return args
	}
	switch rest := args[2:]; args[1] {
	case "--version", "-v":
		return append([]string{args[0], "version"}, rest...)
	case "help":
		return append(append([]string{args[0]}, rest...), "--help")
	}
	return args
}
