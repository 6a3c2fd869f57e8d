// Package terminal writes what strangers may have chosen so that a terminal, and whoever reads it, is safe from it.
package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// blank are the characters that count as printable and show nothing, so that two ids which differ by one look the same:
// fillers, joiners and variation selectors, besides the symbols that are drawn empty.
var blank = []*unicode.RangeTable{
	unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector,
	{
		R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}, // BRAILLE PATTERN BLANK
		R32: []unicode.Range32{
			{Lo: 0x13441, Hi: 0x13442, Stride: 1}, // EGYPTIAN HIEROGLYPH FULL BLANK, HALF BLANK
			{Lo: 0x16fe4, Hi: 0x16fe4, Stride: 1}, // KHITAN SMALL SCRIPT FILLER
			{Lo: 0x1d159, Hi: 0x1d159, Stride: 1}, // MUSICAL SYMBOL NULL NOTEHEAD
		},
	},
}

// visible reports whether a reader sees r. A space counts.
func visible(r rune) bool {
	return r < 0x7f && r >= ' ' || unicode.IsPrint(r) && r != unicode.ReplacementChar && !unicode.In(r, blank...)
}

// mostMarks is how many combining marks may stand on one character: a heap of them covers the lines around it.
const mostMarks = 2

// Printable makes s safe for a terminal: whatever is not a visible character or a space, such as an escape sequence, a
// change of the writing direction or a filler, becomes an escape like \u202e, and so do combining marks beyond the second on
// one character.
func Printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) < 0 {
		return s
	}
	var b strings.Builder
	marks := 0
	for _, r := range s {
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		if visible(r) && marks <= mostMarks {
			b.WriteRune(r)
		} else {
			b.WriteString(escaped(r))
		}
	}
	return b.String()
}

// cell is s for a table: Printable, and with the spaces escaped that nobody would see, since two ids that differ must look
// different.
func cell(s string) string {
	s = Printable(s)
	if s == strings.Join(strings.Fields(s), " ") {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r == ' ' && (i == 0 || i == len(s)-1 || s[i+1] == ' ') {
			b.WriteString(`\x20`)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escaped is r as an escape of Go's strings.
func escaped(r rune) string {
	q := strconv.QuoteRuneToASCII(r)
	return q[1 : len(q)-1]
}

// PrintJSON writes v for programs, indented. What a reader would not see is escaped all the same, since w may be a terminal.
func PrintJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	out := make([]byte, 0, b.Len())
	for _, r := range b.String() { // JSON's own characters are all below 0x7f, so the rest stands in strings
		switch {
		case r < 0x7f || visible(r) || r == unicode.ReplacementChar:
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	_, err := w.Write(out)
	return err
}

// Table writes lines of cells in columns, each [Printable], with the spaces at its ends and all but the last of several
// escaped. Nothing is written before Flush.
type Table struct{ w *tabwriter.Writer }

// NewTable begins a table with a line of heads; with none it has no such line.
func NewTable(w io.Writer, heads ...string) Table {
	t := Table{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	if len(heads) > 0 {
		t.Line(heads...)
	}
	return t
}

// Line adds a line.
func (t Table) Line(cells ...string) {
	cells = slices.Clone(cells)
	for i, c := range cells {
		cells[i] = cell(c)
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t")) // an error is kept, and Flush returns it
}

// Flush writes the table, and returns the first error that the writer had.
func (t Table) Flush() error { return t.w.Flush() }
