package doctor

import (
	"fmt"
	"io"

	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// Print writes a finding as one line that is safe for a terminal: status, check, URL, detail and remedy.
func Print(w io.Writer, f Finding) error {
	line := shortened(f.Detail)
	if f.URL != "" {
		line = shortened(f.URL) + "  " + line
	}
	if f.Remedy != "" {
		line += " -> " + f.Remedy
	}
	_, err := fmt.Fprintf(w, "%-4s  %-11s  %s\n", f.Status, f.Check, terminal.Printable(line))
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
