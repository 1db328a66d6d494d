// SPDX-License-Identifier: Apache-2.0

// Command draw makes the drawings of docs/:
//
//	groupings.png   how each grouping cuts the weights of a layer into points
//	sphere.png      gradient, retraction and transport on a sphere, in a cut
//	manifolds.png   what each manifold keeps
//	order.png       the order of a step
//	orthogonal.png  a kernel with orthonormal filters, and an orthogonal convolution
//
// Their contents are computed by packages manifolds and nodes, so that they agree with the code. Coordinates
// and colours are rounded before they are drawn, so that the bytes are the same on every machine.
//
//	go run ./docs/draw -out docs/img
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", "docs/img", "folder to write to")
	flag.Parse()
	for _, d := range []struct {
		name string
		draw func() (*page, error)
	}{
		{"groupings.png", groupings},
		{"sphere.png", sphere},
		{"manifolds.png", manifoldsKeep},
		{"order.png", order},
		{"orthogonal.png", orthogonal},
	} {
		p, err := d.draw()
		if err == nil {
			err = p.save(filepath.Join(*out, d.name))
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "draw: %s: %v\n", d.name, err)
			os.Exit(1)
		}
	}
}
