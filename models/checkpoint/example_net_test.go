// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/nodes"
)

// The weights of any Gorgonia graph are saved as a State: that of a Net, or one that is put together of
// nodes and buffers from any graphs.
func ExampleSave_state() {
	make := func(seed uint64) models.State {
		generator, discriminator := gorgonia.NewGraph(), gorgonia.NewGraph()
		leaf := func(g *gorgonia.ExprGraph, name string) *gorgonia.Node {
			return gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName(name), gorgonia.WithShape(2, 2), gorgonia.WithInit(nodes.HeNormal(1, seed)))
		}
		return models.State{
			Learnables: gorgonia.Nodes{leaf(generator, "generator.weight"), leaf(discriminator, "discriminator.weight")},
			Buffers:    []models.Buffer{{Name: "discriminator", Iteration: nodes.NewPowerIteration(seed)}},
		}
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "gan.safetensors")
	saved, loaded := make(1), make(2)
	fmt.Println(checkpoint.Save(path, saved, nil, nil))
	fmt.Println(checkpoint.Load(path, loaded, nil, nil))
	for i, l := range loaded.Learnables {
		fmt.Println(l.Name(), fmt.Sprint(l.Value().Data()) == fmt.Sprint(saved.Learnables[i].Value().Data()))
	}
	saved.Learnables = append(saved.Learnables, saved.Learnables[0])
	fmt.Println(checkpoint.Save("no.safetensors", saved, nil, nil))
	// Output:
	// <nil>
	// <nil>
	// generator.weight true
	// discriminator.weight true
	// checkpoint: save no.safetensors: models: learnable 2: want unique names, got "generator.weight" twice
}
