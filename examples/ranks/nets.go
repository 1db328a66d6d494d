// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
)

// layer is a convolution.
type layer struct {
	filters, inputs int // a filter bank is filters x inputs
	pixels          int // of its output
}

func (l layer) weights() int { return l.filters * l.inputs }

// work is the estimate of work by which package solvers distributes layers, on Stiefel.
func (l layer) work() int64 { return int64(l.weights()) * int64(1+min(l.filters, l.inputs)) }

// net is a net that is trained.
type net struct {
	name    string
	layers  []layer
	rest    int     // weights of its linear layer and batch normalisations
	seconds float64 // of one core, forward and backward, for an image
}

func (n net) weights() int {
	w := n.rest
	for _, l := range n.layers {
		w += l.weights()
	}
	return w
}

// macs returns the number of multiply-adds of a forward pass for an image.
func (n net) macs() float64 {
	m := 0.0
	for _, l := range n.layers {
		m += float64(l.weights() * l.pixels)
	}
	return m
}

// flops is the number of floating-point operations of one core in a second: ResNet-20 trains on 448 images a
// second (docs/benchmarks.md has times of several machines), and forward and backward take three times the forward pass.
var flops = 448 * 3 * 2 * resNet20().macs()

// nets returns nets for CIFAR-10 and ImageNet (He, Zhang, Ren, Sun, CVPR 2016).
func nets() []net {
	all := []net{resNet20(), resNet18()}
	for i := range all {
		all[i].seconds = 3 * 2 * all[i].macs() / flops
	}
	return all
}

func resNet20() net {
	n := net{name: "ResNet-20", layers: []layer{{16, 3 * 9, 32 * 32}}, rest: 64*10 + 10 + 2*(7*16+6*32+6*64)}
	in, side := 16, 32
	for _, out := range []int{16, 32, 64} {
		if out != in {
			side /= 2
		}
		for range 6 {
			n.layers = append(n.layers, layer{out, in * 9, side * side})
			in = out
		}
	}
	return n
}

func resNet18() net {
	n := net{name: "ResNet-18", layers: []layer{{64, 3 * 49, 112 * 112}}, rest: 512*1000 + 1000 + 2*(5*64+5*128+5*256+5*512)}
	in, side := 64, 56
	for _, out := range []int{64, 128, 256, 512} {
		if out != in {
			side /= 2
			n.layers = append(n.layers, layer{out, in, side * side})
		}
		for range 4 {
			n.layers = append(n.layers, layer{out, in * 9, side * side})
			in = out
		}
	}
	return n
}

// deal distributes the layers among p ranks as package solvers does: in descending order of work, each to the
// rank with the least work so far. It returns the share of all work on the busiest rank, and the bytes that
// each rank sends.
func (n net) deal(p int) (busiest float64, bytes []int) {
	const figures = 13 * 8 // bytes told of a layer beside its weights
	loads, total := make([]int64, p), int64(0)
	bytes = make([]int, p)
	for _, l := range slices.SortedStableFunc(slices.Values(n.layers), func(a, b layer) int { return cmp.Compare(b.work(), a.work()) }) {
		r := slices.Index(loads, slices.Min(loads))
		loads[r] += l.work()
		bytes[r] += 4*l.weights() + figures
		total += l.work()
	}
	return float64(slices.Max(loads)) / float64(total), bytes
}
