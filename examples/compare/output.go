// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// output is the directory of -out.
type output struct {
	dir     string
	created bool
}

// openOutput makes the directory and checks that files can be made in it, so
// that a long run does not end in an error.
func openOutput(dir string) (*output, error) {
	if dir == "" {
		return &output{}, nil
	}
	_, err := os.Stat(dir)
	o := &output{dir, os.IsNotExist(err)}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".compare-*")
	if err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	probe.Close()
	return o, os.Remove(probe.Name())
}

// close takes the directory away again if it was made and nothing was written
// to it.
func (o *output) close() {
	if o.created {
		_ = os.Remove(o.dir)
	}
}

// String names the files.
func (o *output) String() string {
	return fmt.Sprintf("%s and loss.png, accuracy.png, membership.png beside it", filepath.Join(o.dir, "results.json"))
}

// write writes all files under other names first and then renames them, so that a file is
// either as before or whole.
func (o *output) write(r *results) (err error) {
	var files []temporary
	defer func() {
		for _, f := range files {
			_ = os.Remove(f.path) // gone where it was renamed
		}
	}()
	add := func(name string, data []byte, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		f, err := writeTemporary(o.dir, data)
		if err != nil {
			return fmt.Errorf("-out: %w", err)
		}
		files = append(files, temporary{f, filepath.Join(o.dir, name)})
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
		if err := os.Rename(f.path, f.name); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
	}
	return nil
}

type temporary struct{ path, name string }

func writeTemporary(dir string, data []byte) (string, error) {
	f, err := os.CreateTemp(dir, ".compare-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return f.Name(), err
}
