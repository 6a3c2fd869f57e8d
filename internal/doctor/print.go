package doctor

import (
	"fmt"
	"io"

	"github.com/crolang-p2p/crolang-aio/internal/admin"
)

// Print writes a finding as one line that is safe for a terminal: status, check, URL, detail and remedy.
func Print(w io.Writer, f Finding) error {
	line := f.Detail
	if f.URL != "" {
		line = f.URL + "  " + line
	}
	if f.Remedy != "" {
		line += " -> " + f.Remedy
	}
	_, err := fmt.Fprintf(w, "%-4s  %-11s  %s\n", f.Status, f.Check, admin.Printable(line))
	return err
}
