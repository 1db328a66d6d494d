// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
)

// ErrNotFinite is wrapped by the error of a run in which a node met NaN or Inf and could not
// continue: the net has diverged, or its input is invalid. To test for it, apply Cause to the error
// of the machine:
//
//	errors.Is(nodes.Cause(vm.RunAll()), nodes.ErrNotFinite)
var ErrNotFinite = errors.New("not finite")

// ErrNotOrthogonal is wrapped by errors about orthogonal convolutions: of a function for whose arguments no
// orthogonal convolution exists, and of a run in which a factor is not on its manifold.
var ErrNotOrthogonal = errors.New("not orthogonal")

// ErrOption is wrapped by errors about an option that is nil.
var ErrOption = errors.New("invalid option")

// setOptions applies options to o, in their order.
func setOptions[O any, F ~func(*O)](name string, o *O, opts []F) error {
	for i, set := range opts {
		if set == nil {
			return fmt.Errorf("%s: want options, got nil as number %d (%w)", name, i+1, ErrOption)
		}
		set(o)
	}
	return nil
}

// Cause returns the error of the operation that made a run of a machine fail, or err itself if it is
// not such an error. Gorgonia wraps the error of an operation in several lines of text, and in a type
// that errors.Is and errors.As cannot look through.
func Cause(err error) error {
	for {
		switch e := err.(type) {
		case interface{ Err() error }: // the error type of machines
			err = e.Err()
		case interface {
			Cause() error
			Unwrap() error
		}: // wrapping error types of github.com/pkg/errors
			err = e.Unwrap()
		default:
			return err
		}
	}
}

// notFinite returns an error with the given text that wraps ErrNotFinite.
func notFinite(format string, args ...any) error {
	return notFiniteError(fmt.Sprintf(format, args...))
}

type notFiniteError string

func (e notFiniteError) Error() string { return string(e) }
func (e notFiniteError) Unwrap() error { return ErrNotFinite }

// notOrthogonal returns an error with the given text that wraps ErrNotOrthogonal.
func notOrthogonal(format string, args ...any) error {
	return notOrthogonalError(fmt.Sprintf(format, args...))
}

type notOrthogonalError string

func (e notOrthogonalError) Error() string { return string(e) }
func (e notOrthogonalError) Unwrap() error { return ErrNotOrthogonal }
