// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"math/bits"
)

// Schedule is a factor of the learning rate as a function of the step: at step t = 0, 1, 2, ... the learning
// rate is LearnRate * At(t). The zero value is Constant().
type Schedule struct {
	name   string
	factor func(step int) float64
	err    error
}

// NewSchedule makes a schedule from any function. Reports print the name.
func NewSchedule(name string, factor func(step int) float64) Schedule {
	s := Schedule{name: name, factor: factor}
	if factor == nil {
		s.err = optionError("schedule %s: want a function, got nil", name)
	}
	return s
}

// At returns the factor at a step.
func (s Schedule) At(step int) float64 {
	if s.factor == nil {
		return 1
	}
	return s.factor(step)
}

// String names the schedule.
func (s Schedule) String() string {
	if s.name == "" {
		return "constant"
	}
	return s.name
}

// Constant is 1 at every step.
func Constant() Schedule { return Schedule{} }

// StepDecay is factor^floor(t/every).
func StepDecay(every int, factor float64) Schedule {
	s := Schedule{name: fmt.Sprintf("step decay by %g every %d", factor, every)}
	if every < 1 || !(factor > 0) || factor > 1 {
		s.err = optionError("step decay: want every >= 1 and 0 < factor <= 1, got %d and %g", every, factor)
		return s
	}
	s.factor = func(t int) float64 { return math.Pow(factor, float64(t/every)) }
	return s
}

// Cosine falls from 1 at t = 0 to floor at t = total along half a cosine, and
// stays there (Loshchilov, Hutter, ICLR 2017, without restarts).
func Cosine(total int, floor float64) Schedule {
	s := Schedule{name: fmt.Sprintf("cosine over %d to %g", total, floor)}
	if total < 1 || !(floor >= 0) || floor > 1 {
		s.err = optionError("cosine: want total >= 1 and 0 <= floor <= 1, got %d and %g", total, floor)
		return s
	}
	s.factor = func(t int) float64 {
		return floor + (1-floor)*(1+math.Cos(math.Pi*float64(min(t, total))/float64(total)))/2
	}
	return s
}

// Warmup rises linearly, (t+1)/steps, and then follows the schedule after, whose steps are counted from the end of the rise.
func Warmup(steps int, after Schedule) Schedule {
	s := Schedule{name: fmt.Sprintf("warm-up over %d, then %v", steps, after), err: after.err}
	if steps < 1 {
		s.err = optionError("warm-up: want steps >= 1, got %d", steps)
	}
	if s.err == nil {
		s.factor = func(t int) float64 {
			if t < steps {
				return float64(t+1) / float64(steps)
			}
			return after.At(t - steps)
		}
	}
	return s
}

// RobbinsMonro is (1 + t/t0)^-power. With 1/2 < power <= 1 the steps have an
// infinite sum and a finite sum of squares, the conditions under which the
// paper's algorithm converges almost surely (Robbins, Monro 1951; Bonnabel
// 2013); other powers are refused.
func RobbinsMonro(t0, power float64) Schedule {
	s := Schedule{name: fmt.Sprintf("Robbins-Monro (1+t/%g)^-%g", t0, power)}
	if !(t0 > 0) || !(power > 0.5) || power > 1 {
		s.err = optionError("Robbins-Monro: want t0 > 0 and 1/2 < power <= 1, for steps of infinite sum and finite sum of squares, got %g and %g", t0, power)
		return s
	}
	s.factor = func(t int) float64 { return math.Pow(1+float64(t)/t0, -power) }
	return s
}

// CheckRobbinsMonro returns an error unless the factors of s have an infinite sum and a finite sum of
// squares. It measures the exponent a of their decay At(t) ~ t^-a, which must satisfy 1/2 < a <= 1, between
// the steps 2^40 and 2^41 (2^29 and 2^30 where an int has 32 bits), to 0.01. It does not detect logarithmic
// factors.
func CheckRobbinsMonro(s Schedule) error {
	if s.err != nil {
		return s.err
	}
	far := 1 << min(40, bits.UintSize-3)
	near, next := s.At(far), s.At(2*far)
	order := math.Log2(near / next)
	if !(order > 0.51) || order > 1.01 {
		return optionError("schedule %v: want factors that fall like t^-a, 1/2 < a <= 1, for steps of infinite sum and finite sum of squares, got a = %.2f", s, order)
	}
	return nil
}
