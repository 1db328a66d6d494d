// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"math"
)

// ErrNotFinite is wrapped by the error of a run that met a NaN or an infinity where a node
// cannot go on: the net has diverged, or its input was bad. Of what a machine
// returns, ask Cause:
//
//	errors.Is(nodes.Cause(vm.RunAll()), nodes.ErrNotFinite)
var ErrNotFinite = errors.New("not finite")

// Cause returns the error of the operation that made a run of a machine fail, or err if it
// is no such error. Gorgonia wraps it into text of many lines, in part by a type that
// errors.Is and errors.As do not see through.
func Cause(err error) error {
	for {
		switch e := err.(type) {
		case interface{ Err() error }: // the machine's own
			err = e.Err()
		case interface {
			Cause() error
			Unwrap() error
		}: // those of github.com/pkg/errors that wrap another
			err = e.Unwrap()
		default:
			return err
		}
	}
}

// notFinite words an error that wraps ErrNotFinite.
func notFinite(format string, args ...any) error {
	return notFiniteError(fmt.Sprintf(format, args...))
}

type notFiniteError string

func (e notFiniteError) Error() string { return string(e) }
func (e notFiniteError) Unwrap() error { return ErrNotFinite }

// usable reports whether a vector of this norm can be divided by it.
func usable(norm float64) bool {
	return norm > 0 && !math.IsInf(norm, 0) && !math.IsInf(1/norm, 0)
}
