// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/internal/files"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
)

// report is results.json.
type report struct {
	Data      string   `json:"data"`
	Images    int      `json:"training_images"`
	Epochs    int      `json:"epochs"`
	Tuning    int      `json:"tuning_epochs"` // 0 without -tune
	Certified int      `json:"certified_images"`
	Seed      uint64   `json:"seed"`
	Nets      []result `json:"nets"`
}

// result holds the accuracies of a net.
type result struct {
	Net string `json:"net"`
	choice
	Seconds   float64     `json:"seconds"` // of training
	Bound     float64     `json:"lipschitz_bound"`
	Radii     []float64   `json:"radii"`
	Certified []float64   `json:"certified_accuracy"` // at each radius
	Spectra   []*spectrum `json:"-"`                  // in spectra.json, which is long
}

// shown are the radii of the table.
var shown = []float64{0, 36. / 255, 72. / 255, 108. / 255}

func table(w io.Writer, results []result) {
	fmt.Fprintf(w, "%-28s %12s %8s %28s\n", "", "bound of the", "clean", "certified accuracy (%)")
	fmt.Fprintf(w, "%-28s %12s %8s %9s %9s %9s\n", "net", "constant", "(%)", "36/255", "72/255", "108/255")
	for _, r := range results {
		fmt.Fprintf(w, "%-28s %12.4g", r.Net, r.Bound)
		for i, radius := range shown {
			width := 9
			if i == 0 {
				width = 8
			}
			fmt.Fprintf(w, " %*.1f", width, 100*r.Certified[slices.Index(r.Radii, radius)])
		}
		fmt.Fprintln(w)
	}
}

// write writes the files of -out.
func (s *settings) write(m *models.Model, all report) error {
	accuracy, err := accuracyPlot(all.Nets)
	if err != nil {
		return err
	}
	spectra, err := spectraPlot(all.Nets)
	if err != nil {
		return err
	}
	released, err := models.Release(m)
	if err != nil {
		return err
	}
	of := map[string][]*spectrum{}
	for _, r := range all.Nets {
		of[r.Net] = r.Spectra
	}
	written := map[string][]byte{"accuracy.png": accuracy, "spectra.png": spectra}
	for name, content := range map[string]any{"results.json": all, "spectra.json": of} {
		data, err := json.MarshalIndent(content, "", "\t")
		if err != nil {
			return err
		}
		written[name] = append(data, '\n')
	}
	for name, content := range written {
		if err := disk.WriteFile(filepath.Join(s.out, name), content); err != nil {
			return err
		}
	}
	if err := checkpoint.Export(filepath.Join(s.out, "net.safetensors"), m); err != nil {
		return err
	}
	return checkpoint.Export(filepath.Join(s.out, "released.safetensors"), released)
}

// read reads results.json of a run.
func read(file string) (all report, err error) {
	data, err := files.Read(file, 1<<24)
	if err != nil {
		return all, err
	}
	if err := files.JSON(data, &all); err != nil {
		return all, fmt.Errorf("%s: want results.json of certified: %w", file, err)
	}
	if len(all.Nets) == 0 {
		return all, fmt.Errorf("%s: want results of at least one net, got none", file)
	}
	for _, r := range all.Nets {
		if len(r.Certified) != len(r.Radii) {
			return all, fmt.Errorf("%s: %s: want an accuracy for each of the %d radii, got %d", file, r.Net, len(r.Radii), len(r.Certified))
		}
		for _, radius := range shown {
			if !slices.Contains(r.Radii, radius) {
				return all, fmt.Errorf("%s: %s: want the accuracy at the radius %g, got none", file, r.Net, radius)
			}
		}
	}
	return all, nil
}

// redraw prints the table of earlier results, and draws their plot in -out.
func (s *settings) redraw(stdout io.Writer) error {
	all, err := read(s.draw)
	if err != nil {
		return fmt.Errorf("-draw: %w", err)
	}
	if s.out != "" {
		accuracy, err := accuracyPlot(all.Nets)
		if err != nil {
			return err
		}
		undo, err := disk.MakeFolder(s.out)
		if err != nil {
			return fmt.Errorf("-out: %w", err)
		}
		defer undo() // if nothing was written
		if err := disk.WriteFile(filepath.Join(s.out, "accuracy.png"), accuracy); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
	}
	table(stdout, all.Nets)
	return nil
}
