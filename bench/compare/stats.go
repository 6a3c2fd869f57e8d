package main

import (
	"math"
	"slices"
)

// sample is what one figure came to in the repetitions.
type sample []float64

// median is the middle value, the mean of the two middle ones where their number is even; NaN of nothing.
func (s sample) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// span is the smallest and the largest value.
func (s sample) span() (least, most float64) {
	if len(s) == 0 {
		return math.NaN(), math.NaN()
	}
	return slices.Min(s), slices.Max(s)
}

// verdict says how a value stands to what it must and what it should reach.
type verdict string

const (
	reached verdict = "aim"
	held    verdict = "must"
	missed  verdict = "missed"
	unknown verdict = "-"
	none    verdict = "" // there is nothing to reach
)

// judge compares v with its bounds: upper bounds, or lower ones where more is better. NaN is no judgement.
func (g goal) judge(v float64) verdict {
	if g == (goal{}) {
		return none
	}
	sign := 1.0
	if g.more {
		sign = -1
	}
	switch {
	case math.IsNaN(v):
		return unknown
	case g.aim != 0 && v*sign <= g.aim*sign:
		return reached
	case v*sign <= g.must*sign:
		return held
	}
	return missed
}
