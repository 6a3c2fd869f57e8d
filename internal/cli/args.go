package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder puts the options of a command before its arguments, so that `ban NODE --for 1h` means what it says: the
// library stops at the first argument. args begin with the program's name.
func reorder(commands []*cli.Command, args []string) []string {
	at := 1
	var found *cli.Command
	for at < len(args) {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[at]) })
		if i < 0 {
			break
		}
		found, commands = commands[i], commands[i].Subcommands
		at++
	}
	if found == nil {
		return args
	}
	var options, rest []string
	for i := at; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case !strings.HasPrefix(a, "-") || a == "-":
			rest = append(rest, a)
		default:
			options = append(options, a)
			if takesValue(found, strings.TrimLeft(a, "-")) {
				i++
				if i == len(args) { // the library says so, if nothing comes behind that it could take for the value
					return append(slices.Clone(args[:at]), options...)
				}
				options = append(options, args[i])
			}
		}
	}
	out := append(slices.Clone(args[:at]), options...)
	if len(rest) > 0 {
		out = append(append(out, "--"), rest...)
	}
	return out
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

// takesValue says whether the option's value is the next argument.
func takesValue(c *cli.Command, name string) bool {
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range c.Flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
