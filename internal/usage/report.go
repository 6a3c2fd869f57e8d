package usage

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// ErrUnknown is returned for a Node of which there is no record.
var ErrUnknown = errors.New("there is no record of what this Node used")

// Report is one month. The lines of Nodes are in no order. The sum may have more than they have together, if Nodes were
// deleted.
type Report struct {
	Month Month
	Sum   Record
	Lines []Line
}

// Report returns a month, which is empty if nothing was used in it. It copies all, which takes some tens of milliseconds
// for 100 000 Nodes. An error: the file cannot be read.
func (k *Keeper) Report(m Month) (r Report, err error) {
	r.Month = m
	k.io.Lock()
	defer k.io.Unlock()
	if b := k.books[m]; b != nil {
		r.Sum = b.total()
		b.each(func(node string, e *entry) { r.Lines = append(r.Lines, Line{node, e.Record}) })
		return r, nil
	}
	err = k.do(func() error {
		return k.store.read(m, func(l Line) {
			if l.Node == "" {
				r.Sum = l.Record
			} else {
				r.Lines = append(r.Lines, l)
			}
		})
	})
	return r, err
}

// Months lists the months of which there is a record, the last first; this month is always among them. With an error,
// those in memory.
func (k *Keeper) Months() (all []Month, err error) {
	k.io.Lock()
	defer k.io.Unlock()
	for m := range k.books {
		all = append(all, m)
	}
	err = k.do(func() error {
		kept, err := k.store.months()
		all = append(all, kept...)
		return err
	})
	slices.Sort(all)
	all = slices.Compact(all)
	slices.Reverse(all)
	return all, err
}

// MonthOfNode is what a Node used in a month.
type MonthOfNode struct {
	Month Month
	Record
}

// Node returns what a Node has used, the last month first. With an error, what is in memory of it.
func (k *Keeper) Node(node string) ([]MonthOfNode, error) {
	k.io.Lock()
	defer k.io.Unlock()
	all := make(map[Month]Record)
	err := k.do(func() (err error) {
		all, err = k.store.node(node)
		return err
	})
	for m, b := range k.books {
		if r, ok := b.get(node); ok {
			all[m] = r
		} else {
			delete(all, m)
		}
	}
	var list []MonthOfNode
	for m, r := range all {
		list = append(list, MonthOfNode{m, r})
	}
	slices.SortFunc(list, func(a, b MonthOfNode) int { return int(b.Month - a.Month) })
	return list, err
}

// This returns what a Node has used in this month.
func (k *Keeper) This(node string) (Month, Record) {
	b := k.current.Load()
	r, _ := b.get(node)
	return b.month, r
}

// Delete deletes what was kept of a Node, from the disk too, and rewrites the file so that no trace is left in it. Sums
// stay as they were. What the Node uses from now on, it uses as if it were new. The error is [ErrUnknown], or the disk's.
func (k *Keeper) Delete(node string) error {
	k.io.Lock()
	defer k.io.Unlock()
	found := k.traces // of an earlier try
	for _, b := range k.books {
		found = b.remove(node) || found
	}
	n := 0
	if err := k.do(func() (err error) {
		n, err = k.store.remove(node)
		return err
	}); err != nil {
		return fmt.Errorf("what this Node used could not be deleted from the disk: %w; free or repair it and try again", err)
	}
	if n == 0 && !found {
		return ErrUnknown
	}
	k.traces = k.traces || n > 0
	if !k.traces {
		return nil
	}
	if err := k.do(k.store.compact); err != nil {
		return fmt.Errorf("what this Node used is deleted, but traces of it are left in usage.db: %w; free or repair the disk, and they go within a minute", err)
	}
	k.traces = false
	return nil
}

// size writes a number of bytes as the configuration has it, such as "500 GB".
func size(n uint64) string {
	f, units := float64(n), "kMGTPE"
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	for f /= 1000; f >= 999.95 && len(units) > 1; f /= 1000 {
		units = units[1:]
	}
	text := strconv.FormatFloat(f, 'f', 1, 64)
	if n := len(text) - 2; text[n:] == ".0" {
		text = text[:n]
	}
	return text + " " + units[:1] + "B"
}
