// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
)

// Zeros determines where shortcuts without weights (option A) put the channels of zeros that they add.
// Names and shapes of the weights are the same either way, but weights that were trained with one
// placement are useless with the other.
type Zeros string

const (
	// ZerosAfter puts them after the channels of the input. It is the default of Options.
	ZerosAfter Zeros = "after"
	// ZerosAround puts half of them before and half after, as the ResNets of
	// akamaster/pytorch_resnet_cifar10 do. See nodes.ZerosAround.
	ZerosAround Zeros = "around"
)

func (z Zeros) check() error {
	switch z {
	case "", ZerosAfter, ZerosAround:
		return nil
	}
	return fmt.Errorf("models: want zeros %q or %q the channels of a shortcut, got %q", ZerosAfter, ZerosAround, z)
}

func (z Zeros) options() []nodes.ShortcutOption {
	if z == ZerosAround {
		return []nodes.ShortcutOption{nodes.ZerosAround()}
	}
	return nil
}

// Zeros returns where the shortcuts of the net put channels of zeros, or "" if none of them adds any.
func (n *Net) Zeros() Zeros { return n.State().Zeros() }

// Zeros returns where shortcuts in the graphs of the learnables put channels of zeros, or "" if none of
// them adds any.
func (s State) Zeros() Zeros {
	z, seen := Zeros(""), map[*gorgonia.ExprGraph]bool{}
	for _, l := range s.Learnables {
		if seen[l.Graph()] {
			continue
		}
		seen[l.Graph()] = true
		for _, n := range l.Graph().AllNodes() {
			switch before, after := nodes.ZeroChannels(n); {
			case before > 0:
				return ZerosAround
			case after > 0:
				z = ZerosAfter
			}
		}
	}
	return z
}
