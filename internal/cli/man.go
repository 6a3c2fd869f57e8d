package cli

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/version"
)

// summary is what the program is, in the help and the manual page.
const summary = "Broker, STUN/TURN server, webhooks and certificates of CrolangP2P in one process"

func printMan(c *cli.Context) error {
	_, err := io.WriteString(c.App.Writer, manual(c.App.Commands, version.Get().Version))
	return err
}

// page is a manual page in the making.
type page struct{ strings.Builder }

func (p *page) line(parts ...string) { p.WriteString(strings.Join(parts, "") + "\n") }

// manual is the manual page, crolang-aio(1), from what the help is made of.
func manual(commands []*cli.Command, version string) string {
	var p page
	p.line(`.TH CROLANG\-AIO 1 "" "crolang\-aio `, roff(version), `" "User Commands"`)
	p.line(".SH NAME\ncrolang\\-aio \\- ", roff(summary))
	p.line(".SH SYNOPSIS\n.B crolang\\-aio\n.I COMMAND\n[options] [\\fINODE\\fR]")
	p.line(".SH DESCRIPTION")
	p.line(roff("The server side of CrolangP2P in one process: the Broker that Nodes connect to, the STUN and TURN server that relays for them, " +
		"the certificates, and the decisions who may come in and who may talk to whom."))
	p.line(".PP\n", roff("Without a configuration file the defaults apply, and they work. Options may stand before or behind arguments."))
	p.line(".SH COMMANDS")
	p.commands("", commands)
	p.line(".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nIt failed; standard error says why, in a line.\n.TP\n.B 2\nWrong usage.")
	p.line(".SH ENVIRONMENT\n.TP\n.B ", configVariable, "\n", roff("The configuration file, if --config does not name one."))
	p.line(".TP\n.B CROLANG_AIO_\\fITABLE\\fB_\\fIKEY\\fR\n",
		roff("Every key of the configuration has a variable, such as CROLANG_AIO_TURN_LISTEN. It overrides the file. For a secret, the same name with _FILE can name a file that has it."))
	p.line(".TP\n.B ", DoctorPassword, "\n", roff("The password of doctor --url."))
	p.line(".TP\n.B NO_COLOR\n", roff("If it is not empty, nothing is written in colour."))
	p.line(".SH FILES\n.TP\n.I /etc/crolang\\-aio/crolang\\-aio.toml\n", roff("The configuration that the packages' systemd unit uses. crolang-aio config init prints one with every key."))
	p.line(".TP\n.I /var/lib/crolang\\-aio\n", roff("Its data_dir: generated secrets, the self-signed certificate, bans."))
	p.line(".SH SIGNALS\n.TP\n.B SIGHUP\n", roff("serve reads its configuration again: all of it, or nothing if it has a mistake."))
	p.line(".TP\n.B SIGTERM\\fR, \\fBSIGINT\n", roff("serve drains and ends; a second one ends it at once."))
	p.line(".SH SEE ALSO\n", roff("https://github.com/crolang-p2p/crolang-aio"))
	return p.String()
}

// commands writes the commands, each with its options.
func (p *page) commands(above string, commands []*cli.Command) {
	for _, c := range commands {
		name := strings.TrimSpace(above + " " + c.Name)
		if c.Hidden {
			continue
		}
		if len(c.Subcommands) > 0 {
			p.commands(name, c.Subcommands)
			continue
		}
		p.line(".SS \\fB", roff(name), "\\fR ", roff(c.ArgsUsage))
		p.line(roff(capital(c.Usage)), ".")
		for _, paragraph := range strings.Split(c.Description, "\n\n") {
			if paragraph != "" {
				p.line(".PP\n.nf\n", roff(paragraph), "\n.fi")
			}
		}
		for _, f := range c.Flags {
			f, ok := f.(cli.DocGenerationFlag)
			if !ok {
				continue
			}
			value, usage := placeholder(f.GetUsage())
			var names []string
			for _, n := range f.(cli.Flag).Names() {
				names = append(names, "\\fB"+roff(dashed(n))+"\\fR")
			}
			if text := f.GetDefaultText(); text != "" && text != `""` && f.TakesValue() {
				usage += " (default: " + strings.Trim(text, `"`) + ")"
			}
			p.line(".TP\n", strings.Join(names, ", "), " \\fI", roff(value), "\\fR\n", roff(capital(usage)), ".")
		}
	}
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// roff escapes what the page's language would read as its own.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	var lines []string
	for l := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, "\n")
}
