// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"reflect"

	"gorgonia.org/gorgonia"
)

// ErrMachine is wrapped by the error of a run on a gorgonia.NewLispMachine that needs the gradient
// of a node of this package. That machine skips operations that it cannot differentiate, so without
// this error the run would succeed with gradients of zero. Call gorgonia.Grad and run the graph on
// gorgonia.NewTapeMachine instead. To test for the error, apply Cause to the error of the machine:
//
//	errors.Is(nodes.Cause(vm.RunAll()), nodes.ErrMachine)
//
// gorgonia.NewLispMachine(g, gorgonia.ExecuteFwdOnly()) can evaluate a graph without gradients.
var ErrMachine = errors.New("want a tape machine")

func machineError(name string) error {
	return fmt.Errorf("%s: %w: gorgonia.NewLispMachine does not compute gradients of this node; "+
		"build the graph anew, call gorgonia.Grad and use gorgonia.NewTapeMachine", name, ErrMachine)
}

// DoDiff is called by a Lisp machine to differentiate an operation. It skips operations without
// DoDiff.
func (o *op) DoDiff(gorgonia.ExecutionContext, gorgonia.Nodes, *gorgonia.Node) error {
	return machineError(o.name)
}

func (g *gradient) DoDiff(gorgonia.ExecutionContext, gorgonia.Nodes, *gorgonia.Node) error {
	return machineError(g.op.name)
}

// onLispMachine reports whether a Lisp machine runs the gradient node. A Lisp machine binds a
// derivative to every node that it has run, so Node.Grad of a learnable returns zeros instead of
// the value of its gradient node. A tape machine binds derivatives only to nodes that are
// differentiated, which the gradient with respect to the output is not.
func (g *gradient) onLispMachine() bool {
	if g.grad == nil || !hasDerivative(g.grad) || g.grad.Deriv() != nil { // a second derivative is bound by either machine
		return false
	}
	d, err := g.grad.Grad()
	return err == nil && d != nil
}

// hasDerivative reports whether Node.Grad may succeed. Where it fails, which is the case in every run
// of a tape machine, it records where it was called, and that costs more memory than all else in the
// step of a net. So this looks at the value that is bound to the node, and asks Node.Grad only if that
// can have a derivative, or if there is no such field.
func hasDerivative(n *gorgonia.Node) bool {
	if boundTo == nil {
		return true
	}
	v := reflect.ValueOf(n).Elem().FieldByIndex(boundTo)
	return v.Kind() != reflect.Interface || !v.IsNil() && v.Elem().Type().String() == "*gorgonia.dualValue"
}

// boundTo is the index of the field with the value of a node.
var boundTo = func() []int {
	if f, ok := reflect.TypeFor[gorgonia.Node]().FieldByName("boundTo"); ok {
		return f.Index
	}
	return nil
}()

var (
	_ gorgonia.ADOp = (*op)(nil)
	_ gorgonia.ADOp = (*gradient)(nil)
)
