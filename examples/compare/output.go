// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/internal/disk"
)

// output is the directory of -out.
type output struct {
	dir   string
	close func() // removes the directory if it was made and nothing was written to it
}

// openOutput makes the directory.
func openOutput(dir string) (*output, error) {
	undo, err := cli.Folder(dir)
	if err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	return &output{dir, undo}, nil
}

// String names the files.
func (o *output) String() string {
	return fmt.Sprintf("%s and loss.png, accuracy.png, membership.png beside it", filepath.Join(o.dir, "results.json"))
}

// write writes all files under other names first and then renames them, so that a file is either unchanged or complete.
func (o *output) write(r *results) (err error) {
	var files []*disk.Staged
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Discard()
			}
		}
	}()
	add := func(name string, data []byte, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		f, err := disk.Stage(disk.OS{}, filepath.Join(o.dir, name), func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
		if err != nil {
			return fmt.Errorf("-out: %w", err)
		}
		files = append(files, f)
		return nil
	}
	data, err := r.json()
	if err := add("results.json", data, err); err != nil {
		return err
	}
	for _, p := range plots {
		data, err := p.png(r)
		if err := add(p.file, data, err); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := f.Commit(); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
	}
	return nil
}
