// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/kernelfold/kernelfold/models/images"
)

// drawPictures makes a folder of pictures, to try the program with.
func (c *command) drawPictures(ctx context.Context, stdout io.Writer) error {
	if err := images.Draw(ctx, c.draw, images.DrawOptions{Classes: c.letters, PerClass: c.Limit, Seed: c.Seed}); err != nil {
		return fmt.Errorf("-draw: %w", err)
	}
	paths, err := images.Find(c.draw)
	if err != nil {
		return fmt.Errorf("-draw: %w", err)
	}
	fmt.Fprintf(stdout, "%s: %d pictures\n", c.draw, len(paths))
	return nil
}
