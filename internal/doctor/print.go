package doctor

import (
	"fmt"
	"io"

	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// colours are those of the words that a finding begins with, as ECMA-48 has them: green, yellow, red.
var colours = map[Status]string{OK: "\x1b[32m", Warn: "\x1b[33m", Fail: "\x1b[1;31m"}

// Print writes a finding as one line that is safe for a terminal: status, in colour if coloured, check, URL, detail and remedy.
func Print(w io.Writer, f Finding, coloured bool) error {
	line := shortened(f.Detail)
	if f.URL != "" {
		line = shortened(f.URL) + "  " + line
	}
	if f.Remedy != "" {
		line += " -> " + f.Remedy
	}
	status := fmt.Sprintf("%-4s", f.Status)
	if colour := colours[f.Status]; coloured && colour != "" {
		status = colour + status + "\x1b[0m"
	}
	_, err := fmt.Fprintf(w, "%s  %-11s  %s\n", status, f.Check, terminal.Printable(line))
	return err
}

// mostShown is how many characters of a text are shown: a stranger may have chosen it.
const mostShown = 1000

func shortened(s string) string {
	if cut := []rune(s); len(cut) > mostShown {
		return string(cut[:mostShown]) + "…"
	}
	return s
}
