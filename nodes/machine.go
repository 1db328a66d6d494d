// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
)

// ErrMachine is wrapped by the error of a run on a gorgonia.NewLispMachine that needs the gradient of
// a node of this package. Without it such a run would succeed with gradients of zero, since that machine skips
// operations that it cannot differentiate. Call gorgonia.Grad and run the graph on gorgonia.NewTapeMachine.
// Of what a machine returns, ask Cause:
//
//	errors.Is(nodes.Cause(vm.RunAll()), nodes.ErrMachine)
//
// A graph without gradients may be evaluated by gorgonia.NewLispMachine(g, gorgonia.ExecuteFwdOnly()).
var ErrMachine = errors.New("want a tape machine")

func machineError(name string) error {
	return fmt.Errorf("%s: %w: gorgonia.NewLispMachine does not compute gradients of this node; "+
		"build the graph anew, call gorgonia.Grad and use gorgonia.NewTapeMachine", name, ErrMachine)
}

// DoDiff is how a Lisp machine differentiates an operation. Operations without it are skipped.
func (o *op) DoDiff(gorgonia.ExecutionContext, gorgonia.Nodes, *gorgonia.Node) error {
	return machineError(o.name)
}

func (g *gradient) DoDiff(gorgonia.ExecutionContext, gorgonia.Nodes, *gorgonia.Node) error {
	return machineError(g.op.name)
}

// onLispMachine reports whether a Lisp machine runs the gradient node. That machine binds a derivative to
// every node that it has run, and so Node.Grad of a learnable returns zeros instead of the value of its
// gradient node. A tape machine binds derivatives to what is differentiated, which the gradient in
// the output is not.
func (g *gradient) onLispMachine() bool {
	if g.grad == nil || g.grad.Deriv() != nil { // a second derivative is bound by either machine
		return false
	}
	d, err := g.grad.Grad()
	return err == nil && d != nil
}

var (
	_ gorgonia.ADOp = (*op)(nil)
	_ gorgonia.ADOp = (*gradient)(nil)
)
