package main

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// outcome is one figure with what was measured.
type outcome struct {
	figure
	row               string
	grid              bool
	ours, peer, floor sample // peer and floor are nil where there are none
	sockets           sample // ours without relaying in the kernel, where ours is with it
}

// value is what the goal is about: the ratio of the medians, or our own median.
func (o outcome) value() float64 {
	if o.goal.absolute {
		return o.ours.median()
	}
	return o.ratio()
}

func (o outcome) ratio() float64 { return o.ours.median() / o.peer.median() }

func (o outcome) verdict() verdict { return o.goal.judge(o.value()) }

// number groups digits by three with narrow spaces.
func number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	s := fmt.Sprintf("%.*f", digits, v)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "\u202f" + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole
}

func (o outcome) cell(s sample, spans bool) string {
	if len(s) == 0 {
		return "-"
	}
	text := number(s.median(), o.digits)
	if least, most := s.span(); spans && len(s) > 1 {
		text += fmt.Sprintf(" (%s–%s)", number(least, o.digits), number(most, o.digits))
	}
	return text
}

func (o outcome) bound(v float64) string {
	switch {
	case v == 0:
		return ""
	case o.goal.absolute:
		return number(v, 0) + " " + o.unit
	}
	return fmt.Sprintf("%.2f", v)
}

// header and cells are one table, for people at a terminal and for Markdown. With spans, medians have their least and
// largest value beside them, and what was to be reached is shown.
func header(spans bool) []string {
	h := []string{"", "", "coturn", "crolang-aio", "ratio"}
	if spans {
		h = append(h, "must", "aim", "reached")
	}
	return h
}

func (o outcome) cells(spans bool) []string {
	ratio := "-"
	if len(o.peer) > 0 {
		ratio = number(o.ratio(), 2)
	}
	out := []string{o.title, o.unit, o.cell(o.peer, spans), o.cell(o.ours, spans), ratio}
	if spans {
		out = append(out, o.bound(o.goal.must), o.bound(o.goal.aim), string(o.verdict()))
	}
	return out
}

// table is the comparison with coturn.
func table(all []outcome, spans bool) [][]string {
	rows := [][]string{header(spans)}
	for _, o := range all {
		rows = append(rows, o.cells(spans))
	}
	return rows
}

// floorTable sets the servers beside the floor; nil where it was not measured.
func floorTable(all []outcome) [][]string {
	rows := [][]string{{"", "", "coturn", "floor", "crolang-aio", "floor to coturn", "crolang-aio to floor"}}
	for _, o := range all {
		if len(o.floor) == 0 {
			continue
		}
		rows = append(rows, []string{
			o.title, o.unit, o.cell(o.peer, false), o.cell(o.floor, true), o.cell(o.ours, false),
			number(o.floor.median()/o.peer.median(), 2), number(o.ours.median()/o.floor.median(), 2),
		})
	}
	if len(rows) == 1 {
		return nil
	}
	return rows
}

// plain is a table for a terminal.
func plain(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, cells := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	return b.String()
}

// markdown is a table for a document, its columns padded so that its source reads well too.
func markdown(rows [][]string) string {
	if len(rows) == 0 {
		return ""
	}
	widths := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, c := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(c), 3)
		}
	}
	var b strings.Builder
	for n, cells := range rows {
		for i, c := range cells {
			b.WriteString("| " + c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+1))
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			if i < 2 {
				b.WriteString("| " + strings.Repeat("-", width) + " ")
			} else {
				b.WriteString("| " + strings.Repeat("-", width-1) + ": ")
			}
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// summary says in one line how many goals are reached.
func summary(all []outcome) (text string, misses int) {
	n := make(map[verdict]int)
	var names []string
	for _, o := range all {
		v := o.verdict()
		n[v]++
		if v == missed {
			names = append(names, o.title)
		}
	}
	text = fmt.Sprintf("%d of %d figures reach what they must, %d of them their aim.", n[reached]+n[held], len(all), n[reached])
	if len(names) > 0 {
		text += " Missed: " + strings.Join(names, "; ") + "."
	}
	return text, n[missed]
}
