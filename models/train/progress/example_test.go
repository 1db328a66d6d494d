// SPDX-License-Identifier: Apache-2.0

package progress_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/progress"
)

// On os.Stderr it is a bar; what is no terminal gets a line for each epoch.
func Example() {
	set, err := images.Digits(1, 100, 20, images.DigitOptions{Side: 12})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := models.CNN(20, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{4}, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	var out bytes.Buffer
	_, err = train.Fit(context.Background(), m, gorgonia.NewVanillaSolver(), set.Train, train.Options{
		Epochs: 2,
		Test:   set.Test,
		Hooks:  []train.Hook{progress.New(&out)},
	})
	if err != nil {
		fmt.Println(err)
	}
	for line := range strings.Lines(out.String()) {
		epoch, _, _ := strings.Cut(line, ":") // loss, accuracy, rate and time follow
		fmt.Println(epoch)
	}
	// Output:
	// epoch 1/2
	// epoch 2/2
}
