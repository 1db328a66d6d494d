// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Find returns the paths of pictures: of each path that is a folder, the pictures in it and in the folders below, by their extension and in
// the order of their names, as Folder takes them; any other path as it is, whether or not it is a picture. Links to folders in folders are
// not followed. A folder without pictures is an error.
func Find(paths ...string) ([]string, error) {
	var found []string
	for _, folder := range paths {
		if !isDir(folder) {
			found = append(found, folder)
			continue
		}
		before := len(found)
		err := walk(folder, func(path string) error {
			found = append(found, path)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
		if len(found) == before {
			return nil, fmt.Errorf("images: %s: want pictures in the folder, got none", folder)
		}
	}
	return found, nil
}

// HasPictures tells whether dir is a folder in which Find finds a picture. It looks for the first one only.
func HasPictures(dir string) bool {
	has := false
	return isDir(dir) && walk(dir, func(string) error {
		has = true
		return fs.SkipAll
	}) == nil && has
}

// walk calls do for each picture in a folder and in the folders below.
func walk(folder string, do func(path string) error) error {
	root := folder + string(filepath.Separator) // the folder may be a link
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != root && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
		case isPicture(d.Name()) && !leadsToDir(d, path):
			return do(path)
		}
		return nil
	})
}
