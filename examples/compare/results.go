// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// results is results.json. Accuracies are shares in 0..1 of the test images,
// losses mean cross-entropies in nats over the training images of an epoch, seconds those of
// training without evaluation.
//
// A membership error is the largest over all kernels, as the doc of their manifold
// defines it. An unconstrained solver, stock or Euclidean, has no manifold; its number says how far
// its filters are from the unit sphere, | |w| - 1 |, the constraint of sgd-sphere.
type results struct {
	Settings settingsJSON      `json:"settings"`
	Versions map[string]string `json:"versions"`
	Solvers  []solverJSON      `json:"solvers"`
	// Failed are the solvers that diverged or could not be used.
	Failed []failedJSON `json:"failed,omitempty"`
	// Interrupted reports that the run was ended before all epochs were complete.
	Interrupted bool `json:"interrupted,omitempty"`

	lost *fs.PathError // event files that could not be completed when the run was interrupted
}

type settingsJSON struct {
	Data        string             `json:"data"` // "digits", or the name of the directory
	Classes     []string           `json:"classes"`
	Shape       [3]int             `json:"shape"` // channels, height, width
	TrainImages int                `json:"train_images"`
	TestImages  int                `json:"test_images"`
	Limit       int                `json:"limit"`
	Solvers     []string           `json:"solvers"`
	LearnRates  map[string]float64 `json:"learning_rates"`
	Epochs      int                `json:"epochs"`
	Batch       int                `json:"batch"`
	Seed        uint64             `json:"seed"`
	Widths      []int              `json:"widths"`
	BatchNorm   bool               `json:"batch_norm"`
	Weights     int                `json:"weights"`
	// Reference is what the membership error of unconstrained solvers refers to.
	Reference string `json:"membership_reference"`
}

type solverJSON struct {
	Name         string      `json:"name"`
	Manifold     string      `json:"manifold"`
	Grouping     string      `json:"grouping"`
	Stock        bool        `json:"stock"`
	TestAccuracy float64     `json:"test_accuracy"`
	FinalLoss    float64     `json:"final_loss"`
	Seconds      float64     `json:"seconds"`
	Membership   float64     `json:"membership_error"`
	Epochs       []epochJSON `json:"epochs"`
	Warnings     []string    `json:"warnings,omitempty"` // of the report of the solver at the end
}

// constrained reports whether the solver has a manifold.
func (s solverJSON) constrained() bool { return s.Grouping != "" }

type epochJSON struct {
	Loss       float64 `json:"loss"`
	Accuracy   float64 `json:"accuracy"`
	Seconds    float64 `json:"seconds"`
	Membership float64 `json:"membership_error"`
}

type failedJSON struct {
	Name      string  `json:"name"`
	LearnRate float64 `json:"learning_rate"`
	Error     string  `json:"error"`
}

func (s *settings) newResults(set *images.Set, m *models.Model) *results {
	r := &results{
		Settings: settingsJSON{
			Data: set.Name, Classes: set.Classes, Shape: set.Shape(),
			TrainImages: set.Train.Len(), TestImages: set.Test.Len(), Limit: s.limit,
			LearnRates: map[string]float64{}, Epochs: s.epochs, Batch: s.batch, Seed: s.seed,
			Widths: s.widths, BatchNorm: s.batchNorm, Weights: m.Parameters(),
			Reference: reference.String(),
		},
		Versions: versions(),
		Solvers:  []solverJSON{},
	}
	for _, e := range s.entries {
		r.Settings.Solvers = append(r.Settings.Solvers, e.name)
		r.Settings.LearnRates[e.name] = e.rate
	}
	return r
}

// versions returns the versions that the numbers depend on, and the number of cores.
func versions() map[string]string {
	v := cli.Versions("gorgonia.org/gorgonia", "gorgonia.org/tensor", "gonum.org/v1/gonum")
	v["cpus"] = fmt.Sprint(runtime.NumCPU())
	return v
}

// table prints the results for a terminal.
func (r *results) table(w io.Writer) {
	s := r.Settings
	norm := ""
	if s.BatchNorm {
		norm = " with batch norm"
	}
	fmt.Fprintf(w, "%s: %d training and %d test images of %dx%dx%d, %d classes\nCNN of %d weights%s; batch %d, seed %d\n\n",
		s.Data, s.TrainImages, s.TestImages, s.Shape[0], s.Shape[1], s.Shape[2], len(s.Classes), s.Weights, norm, s.Batch, s.Seed)
	wide := len("solver")
	for _, name := range s.Solvers {
		wide = max(wide, len(name))
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%-*s\trate\taccuracy\tloss\tseconds\tmembership\tepochs\t\n", wide, "solver")
	free := false
	for _, o := range r.Solvers {
		mark := " "
		if !o.constrained() {
			mark, free = "*", true
		}
		fmt.Fprintf(t, "%-*s\t%g\t%.1f %%\t%.4f\t%.1f\t%.1e%s\t%d\t\n", wide, o.Name, s.LearnRates[o.Name], 100*o.TestAccuracy, o.FinalLoss, o.Seconds, o.Membership, mark, len(o.Epochs))
	}
	for _, f := range r.Failed {
		fmt.Fprintf(t, "%-*s\t%g\tfailed\t-\t-\t- \t-\t\n", wide, f.Name, f.LearnRate)
	}
	t.Flush()
	for line := range strings.Lines(b.String()) {
		fmt.Fprint(w, line[2:]) // without the padding of the first column
	}
	fmt.Fprintln(w, "\naccuracy on the test images; membership: how far kernels are off their manifold")
	if free {
		fmt.Fprintln(w, "* nothing is constrained: the distance of the filters from the unit sphere")
	}
	for _, o := range r.Solvers {
		for _, warning := range o.Warnings {
			fmt.Fprintf(w, "\n%s: warning: %s\n", o.Name, warning)
		}
	}
}

// failure returns one error for an interruption, with what was kept and what was lost, and for the solvers that failed.
func (r *results) failure(kept string) error {
	var parts []string
	if r.Interrupted {
		epochs := 0
		for _, o := range r.Solvers {
			epochs += len(o.Epochs)
		}
		parts = append(parts, fmt.Sprintf("interrupted after %d of %d epochs; %s", epochs, len(r.Settings.Solvers)*r.Settings.Epochs, kept))
	}
	if r.lost != nil {
		parts = append(parts, r.incomplete().Error())
	}
	for _, f := range r.Failed {
		parts = append(parts, fmt.Sprintf("%s with learning rate %g: %s", f.Name, f.LearnRate, f.Error))
	}
	if parts == nil {
		return nil
	}
	return errors.New(strings.Join(parts, "; "))
}

// incomplete is the error of event files that could not be completed.
func (r *results) incomplete() error {
	return fmt.Errorf("the events for TensorBoard are incomplete: %w", r.lost)
}

func (r *results) json() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}
