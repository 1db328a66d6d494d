// SPDX-License-Identifier: Apache-2.0

package images

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	slashpath "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kernelfold/kernelfold/internal/files"
)

// FolderOptions are the options of Folder.
type FolderOptions struct {
	// Preprocessing is how a picture becomes the input of a net.
	Preprocessing
	// Transform varies the pictures in training.
	Transform Transform
	// Labels is the path of a CSV file of names and labels, instead of a sub-folder for each class. Its columns are the path of a
	// picture below the folder, with slashes, and the name of its class. A first line of a column called name, file, filename, path or
	// image and one called label or class says which columns these are; without it they are the first two.
	Labels string
	// Classes are the classes and their order, such as those of a net. By default they are the names found, sorted; those
	// of a CSV file are sorted by value if all of them are numbers. A class that is not among them is an error; a class
	// without pictures is not.
	Classes []string
	// Skip leaves out broken pictures, and counts them: see Pictures.Skipped.
	Skip bool
}

// Folder makes a data set of the user's own pictures, which lie in dir: a sub-folder for each class, with pictures in
// it or in folders further below. Files are selected by their extension (.jpg, .jpeg, .png, .gif, .webp, .bmp, .tif or
// .tiff); the format of a picture is recognised by its contents when it is read. Names that begin with a dot are left
// out. Links are followed.
//
// Folder reads names only, about a hundred thousand a second; none of the pictures is opened. Something that cannot be
// a picture, such as a pipe or a broken or circular link, is an error that names it or, with Skip, is skipped and
// counted.
func Folder(dir string, o FolderOptions) (*Pictures, error) {
	pre, err := o.Preprocessing.withDefaults()
	if err != nil {
		return nil, err
	}
	transform, err := o.Transform.withDefaults()
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("images: %s: want a folder, got a file", dir)
	}
	p := &Pictures{Preprocessing: pre, Transform: transform, dir: dir}
	if o.Skip {
		p.broken = &broken{errs: map[string]error{}}
	}
	x := index{Pictures: p, byName: map[string]int{}}
	for i, c := range o.Classes {
		if _, twice := x.byName[c]; twice {
			return nil, fmt.Errorf("images: want each class once, got %q twice", c)
		}
		x.byName[c] = i
	}
	p.Classes, x.fixed = slices.Clone(o.Classes), o.Classes != nil
	if o.Labels != "" {
		err = x.csv(o.Labels)
	} else {
		err = x.folders()
	}
	if err != nil {
		return nil, err
	}
	if p.Len() == 0 {
		return nil, fmt.Errorf("images: %s: want pictures, got none", dir)
	}
	return p, nil
}

// index collects the names of pictures.
type index struct {
	*Pictures
	byName map[string]int // labels
	fixed  bool           // there are no other classes
}

// extensions are those of pictures.
var extensions = map[string]bool{".jpg": true, ".jpeg": true, ".png": true, ".gif": true, ".webp": true, ".bmp": true, ".tif": true, ".tiff": true}

func isPicture(name string) bool { return extensions[strings.ToLower(filepath.Ext(name))] }

// fail returns the error of a file, unless broken ones are skipped.
func (x *index) fail(path string, err error) error {
	err = &PictureError{path, err}
	if x.broken == nil {
		return err
	}
	x.broken.add(path, err)
	return nil
}

// label returns the label of a class.
func (x *index) label(class, at string) (int, error) {
	l, ok := x.byName[class]
	switch {
	case ok:
		return l, nil
	case x.fixed:
		return 0, fmt.Errorf("images: %s: want one of the %d classes of the net, got %q", at, len(x.Classes), class)
	}
	l = len(x.Classes)
	x.byName[class] = l
	x.Classes = append(x.Classes, class)
	return l, nil
}

// folders takes the sub-folders as classes.
func (x *index) folders() error {
	entries, err := os.ReadDir(x.dir)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	root, err := filepath.EvalSymlinks(x.dir)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	loose := ""
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(x.dir, name)
		if !leadsToDir(e, path) {
			if isPicture(name) {
				loose = cmp.Or(loose, path)
			}
			continue
		}
		l, err := x.label(name, path)
		if err != nil {
			return err
		}
		before := x.Len()
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return fmt.Errorf("images: %w", err)
		}
		if err := x.walk(name, l, real, 1, map[string]string{root: x.dir, real: path}); err != nil {
			return err
		}
		if x.Len() == before && !x.fixed {
			return fmt.Errorf("images: %s: want pictures (.jpg, .jpeg, .png, .gif, .webp, .bmp, .tif or .tiff) in the folder of a class, got none", path)
		}
	}
	if loose != "" {
		return fmt.Errorf("images: %s: want pictures in sub-folders, one for each class, got one beside them", loose)
	}
	return nil
}

// maxNesting is the largest depth of folders in folders.
const maxNesting = 64

// walk takes the pictures of a folder below dir and of the folders in it. real is the path of the folder without links, depth how many
// folders lie around it, and seen are the paths of the folders of the class so far by their real paths, so that no links make the walk endless.
func (x *index) walk(folder string, label int, real string, depth int, seen map[string]string) error {
	entries, err := os.ReadDir(filepath.Join(x.dir, filepath.FromSlash(folder)))
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name, mode := folder+"/"+e.Name(), e.Type()
		path := filepath.Join(x.dir, filepath.FromSlash(name))
		if mode&fs.ModeSymlink != 0 {
			info, err := os.Stat(path)
			switch {
			case err == nil:
				mode = info.Mode().Type()
			case !isPicture(name):
				continue
			default:
				if err := x.fail(path, err); err != nil {
					return err
				}
				continue
			}
		}
		switch {
		case mode.IsDir():
			below := filepath.Join(real, e.Name())
			if e.Type()&fs.ModeSymlink != 0 {
				if below, err = filepath.EvalSymlinks(path); err != nil {
					return fmt.Errorf("images: %w", err)
				}
			}
			first, twice := seen[below]
			switch {
			case twice && e.Type()&fs.ModeSymlink != 0:
				err = x.fail(path, faultf(ErrFormat, "want each folder once, got a link to %s", first))
			case twice:
				err = x.fail(path, faultf(ErrFormat, "want each folder once, got it before as %s", first))
			case depth == maxNesting:
				err = x.fail(path, faultf(ErrFormat, "want at most %d folders in each other, got more", maxNesting))
			default:
				seen[below] = path
				err = x.walk(name, label, below, depth+1, seen)
			}
			if err != nil {
				return err
			}
		case !isPicture(name):
		case mode.IsRegular():
			x.names, x.labels = append(x.names, name), append(x.labels, label)
		default:
			if err := x.fail(path, faultf(ErrFormat, "want a regular file, got a special one (%v)", mode)); err != nil {
				return err
			}
		}
	}
	return nil
}

// csv takes names and labels from a file.
func (x *index) csv(path string) error {
	f, _, err := files.Open(path)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.ReuseRecord = -1, true
	nameAt, labelAt := 0, 1
	seen := map[string]bool{}
	for first := true; ; first = false {
		record, err := r.Read()
		if err == io.EOF {
			break
		}
		if p := (*csv.ParseError)(nil); errors.As(err, &p) {
			return fmt.Errorf("images: %s: want a CSV file: %w", path, err)
		}
		if err != nil {
			return fmt.Errorf("images: %s: %w", path, err)
		}
		if first {
			record[0] = strings.TrimPrefix(record[0], "\ufeff")
			n, l := column(record, "name", "file", "filename", "path", "image"), column(record, "label", "class")
			if n >= 0 && l >= 0 {
				nameAt, labelAt = n, l
				continue
			}
		}
		line, _ := r.FieldPos(0)
		at := fmt.Sprintf("%s:%d", path, line)
		if len(record) <= max(nameAt, labelAt) {
			return fmt.Errorf("images: %s: want a name and a label, got %d columns", at, len(record))
		}
		name, class := slashpath.Clean(strings.TrimSpace(record[nameAt])), strings.TrimSpace(record[labelAt])
		switch {
		case !filepath.IsLocal(filepath.FromSlash(name)) || name == ".":
			return fmt.Errorf("images: %s: want the path of a picture below the folder, got %q", at, name)
		case class == "":
			return fmt.Errorf("images: %s: want a label, got none for %q", at, name)
		case seen[name]:
			return fmt.Errorf("images: %s: want each picture once, got %q again", at, name)
		}
		seen[name] = true
		l, err := x.label(strings.Clone(class), at)
		if err != nil {
			return err
		}
		x.names, x.labels = append(x.names, strings.Clone(name)), append(x.labels, l)
	}
	if !x.fixed {
		x.sortClasses()
	}
	return nil
}

// column returns the place of a column that has one of the names, or -1.
func column(header []string, names ...string) int {
	return slices.IndexFunc(header, func(h string) bool { return slices.Contains(names, strings.ToLower(strings.TrimSpace(h))) })
}

// sortClasses sorts classes that came in any order.
func (x *index) sortClasses() {
	numbers := map[string]int{}
	for _, c := range x.Classes {
		if n, err := strconv.Atoi(c); err == nil {
			numbers[c] = n
		}
	}
	compare := strings.Compare
	if len(numbers) == len(x.Classes) {
		compare = func(a, b string) int { return cmp.Or(cmp.Compare(numbers[a], numbers[b]), strings.Compare(a, b)) }
	}
	old := slices.Clone(x.Classes)
	slices.SortFunc(x.Classes, compare)
	for i, c := range x.Classes {
		x.byName[c] = i
	}
	for i, l := range x.labels {
		x.labels[i] = x.byName[old[l]]
	}
}
