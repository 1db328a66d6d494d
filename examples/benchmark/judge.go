// SPDX-License-Identifier: Apache-2.0

package main

import "math"

// result is a row with its measurements, or the reason why there are none.
type result struct {
	row
	threads          int
	missing          missing
	noBar            string // why the premise of the bar does not hold
	ourTime, itsTime spread
}

// ratio returns the ratio of the medians.
func (r result) ratio() float64 { return r.ourTime.median / r.itsTime.median }

// verdict compares the ratio with its bounds.
func (r result) verdict() string {
	switch {
	case r.missing != "":
		return "not measured: " + string(r.missing)
	case r.noBar != "":
		return "no bar: " + r.noBar
	case r.must == 0:
		return "no bar"
	case r.ratio() <= r.aim:
		return "met, and the aim"
	case r.ratio() <= r.must:
		return "met"
	}
	return "missed"
}

// judge computes results from times.
func (c contest) judge(threads int, t times, absent map[string]missing) (all []result) {
	for _, r := range c.rows {
		o := result{row: r, threads: threads, missing: r.missing(absent)}
		if o.missing == "" {
			o.ourTime, o.itsTime = r.ours.over(t), r.its.over(t)
			if ratio := o.ratio(); math.IsNaN(ratio) || math.IsInf(ratio, 0) {
				o.missing = "no time passed"
			}
			if g := r.given; g != nil {
				if ratio := g.ours.over(t).median / g.its.over(t).median; ratio > g.most {
					o.bar, o.noBar = bar{}, g.otherwise(ratio)
				}
			}
		}
		all = append(all, o)
	}
	return all
}
