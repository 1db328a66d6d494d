// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// line is a fit of seconds(n) = alpha + beta n to transfers of n bytes.
type line struct {
	alpha, beta           float64 // seconds, seconds a byte
	alphaError, betaError float64 // standard errors
	from, to              int     // bytes: the sizes that the fit is made on
	rms                   float64 // of the relative residuals on them
	straight              bool    // all of these are within near
}

const (
	near   = 0.25 // the largest relative residual of a fit
	fewest = 4    // sizes of a fit
)

func (l line) at(bytes int) float64 { return l.alpha + l.beta*float64(bytes) }

// fit fits a line to the longest range of neighbouring sizes on which it is within near of each transfer; of
// several such ranges it takes that with the larger sizes. One line seldom fits all sizes, because libraries
// change their algorithm with the size and caches are limited. If there is no such range, the fit is over all
// sizes and not straight. The transfers must be in the order of their sizes. Invalid times, and times that do
// not grow with the size, are an error.
func fit(points []transfer) (line, error) {
	if len(points) < fewest {
		return line{}, fmt.Errorf("want %d sizes or more to fit a line to, got %d", fewest, len(points))
	}
	for i, p := range points {
		if !(p.Seconds > 0) || math.IsInf(p.Seconds, 0) || p.Bytes < 0 {
			return line{}, fmt.Errorf("want bytes and positive seconds, got %d and %g", p.Bytes, p.Seconds)
		}
		if i > 0 && p.Bytes <= points[i-1].Bytes {
			return line{}, fmt.Errorf("want different sizes, the smallest first, got %d after %d bytes", p.Bytes, points[i-1].Bytes)
		}
	}
	for length := len(points); length >= fewest; length-- {
		for first := len(points) - length; first >= 0; first-- {
			if l := fitAll(points[first : first+length]); l.straight && l.beta > 2*l.betaError {
				return l, nil
			}
		}
	}
	if l := fitAll(points); l.beta > 0 {
		return l, nil
	}
	return line{}, fmt.Errorf("want times that grow with the size, got %.3g s for %d bytes and %.3g s for %d",
		points[0].Seconds, points[0].Bytes, points[len(points)-1].Seconds, points[len(points)-1].Bytes)
}

// fitAll minimises the sum of ((alpha + beta n) / t - 1)^2 over all points, with alpha not below 0.
func fitAll(points []transfer) line {
	var one, n, nn, t, nt float64 // sums of 1, n, n^2, t and n t, each over t^2
	for _, p := range points {
		size, w := float64(p.Bytes), 1/(p.Seconds*p.Seconds)
		one, n, nn, t, nt = one+w, n+size*w, nn+size*size*w, t+p.Seconds*w, nt+size*p.Seconds*w
	}
	l := line{from: points[0].Bytes, to: points[len(points)-1].Bytes, straight: true}
	free := 2
	det := one*nn - n*n
	if l.alpha, l.beta = (t*nn-nt*n)/det, (one*nt-n*t)/det; l.alpha < 0 {
		l.alpha, l.beta, free = 0, nt/nn, 1
	}
	squares := 0.0
	for _, p := range points {
		r := l.at(p.Bytes)/p.Seconds - 1
		squares += r * r
		l.straight = l.straight && math.Abs(r) <= near
	}
	l.rms = math.Sqrt(squares / float64(len(points)))
	variance := squares / float64(len(points)-free)
	if l.alphaError, l.betaError = math.Sqrt(variance*nn/det), math.Sqrt(variance*one/det); free == 1 {
		l.alphaError, l.betaError = 0, math.Sqrt(variance/nn)
	}
	return l
}

// long is the size from which latency is small.
const long = 1 << 16

// separate estimates the time of adding a byte, in seconds: the quartiles over all long sizes. A sum by
// halving and doubling takes as long as two gathers of the same size plus the additions, (p-1)/p n gamma. So
// gamma follows from sums and gathers together, but not from sums alone.
func separate(ranks int, sums, gathers []transfer) (low, gamma, high float64, err error) {
	var all []float64
	for _, s := range sums {
		for _, g := range gathers {
			if s.Bytes == g.Bytes && s.Bytes >= long {
				all = append(all, (s.Seconds-2*g.Seconds)/float64(s.Bytes)*float64(ranks)/float64(ranks-1))
			}
		}
	}
	if len(all) < fewest {
		return 0, 0, 0, fmt.Errorf("want sums and gathers of %d sizes of %d bytes or more, got %d", fewest, long, len(all))
	}
	slices.Sort(all)
	return stat.Quantile(0.25, stat.Empirical, all, nil), stat.Quantile(0.5, stat.Empirical, all, nil), stat.Quantile(0.75, stat.Empirical, all, nil), nil
}

// growth returns the median ratio of the times of two kinds of transfers over the long sizes.
func growth(these, others []transfer) float64 {
	var all []float64
	for _, a := range these {
		for _, b := range others {
			if a.Bytes == b.Bytes && a.Bytes >= long {
				all = append(all, a.Seconds/b.Seconds)
			}
		}
	}
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return stat.Quantile(0.5, stat.Empirical, all, nil)
}
