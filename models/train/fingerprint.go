// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/models/images"
)

// property is something by which data are recognised, with a value that can be compared and shown.
type property struct{ Name, Value string }

// fingerprint recognises the data of a run: when it is resumed, and on each of its ranks. It is quick to compute: data in memory
// are summed once, pictures in files are not read, and a Data of another type is known by its type and length only.
type fingerprint []property

// fingerprint returns that of the data, the test and the validation part.
func (r *run) fingerprint() fingerprint {
	f := describe("data", r.data)
	if p, ok := r.data.(*images.Pictures); ok { // which evaluation does not use
		f.addFields("data", p.Transform)
		f.add("data", "weights of the classes", p.Weights)
	}
	return append(append(f, describe("Test", r.Test)...), describe("Validation", r.Validation)...)
}

// describe returns the properties of one part.
func describe(part string, d Data) fingerprint {
	if isEmpty(d) {
		return fingerprint{{part, "nothing"}}
	}
	f := fingerprint{{part, fmt.Sprintf("%d examples of %T", d.Len(), d)}}
	switch d := d.(type) {
	case images.Split:
		f.addSum(part, "labels", fmt.Append(nil, d.Labels))
		f.addSum(part, "pixels", dense.View{F32: d.Images}.Bytes())
	case *images.Pictures:
		files := crc32.NewIEEE()
		for i := range d.Len() {
			fmt.Fprintln(files, d.Label(i), d.Name(i))
		}
		f.add(part, "classes", d.Classes)
		f.add(part, "names and labels", checksum(files.Sum32()))
		f.addFields(part, d.Preprocessing)
	case Tensors:
		for i, t := range d {
			if rows, err := dense.RowsOf(t); err == nil {
				f.add(part, fmt.Sprintf("shape of tensor %d", i), t.Shape())
				f.addSum(part, fmt.Sprintf("tensor %d", i), rows.Bytes())
			}
		}
	}
	return f
}

// add adds a property. Long values, such as the names of a thousand classes, are cut, and told apart by a checksum.
func (f *fingerprint) add(part, name string, value any) {
	const most = 100
	v := fmt.Sprint(value)
	if len(v) > most {
		v = strings.ToValidUTF8(v[:most], "") + "... of " + checksum(crc32.ChecksumIEEE([]byte(v)))
	}
	*f = append(*f, property{part + ": " + name, v})
}

func (f *fingerprint) addSum(part, name string, b []byte) {
	f.add(part, name, checksum(crc32.ChecksumIEEE(b)))
}

// addFields adds each field of a struct, so that a run can still be resumed when the struct has got another one.
func (f *fingerprint) addFields(part string, of any) {
	v := reflect.ValueOf(of)
	for i := range v.NumField() {
		f.add(part, v.Type().Name()+"."+v.Type().Field(i).Name, v.Field(i).Interface())
	}
}

func checksum(sum uint32) string { return fmt.Sprintf("checksum %08x", sum) }

// check returns an error that names the properties in which data differ from those that were saved. A property that only one of
// them has says nothing: another program, or another version of this one, knows others.
func (f fingerprint) check(saved fingerprint) error {
	was := map[string]string{}
	for _, p := range saved {
		was[p.Name] = p.Value
	}
	var differ []string
	for _, p := range f {
		if v, ok := was[p.Name]; ok && v != p.Value {
			differ = append(differ, fmt.Sprintf("%s: want %s, got %s", p.Name, v, p.Value))
		}
	}
	if differ == nil {
		return nil
	}
	return fmt.Errorf("want the data of the run that was saved, got others: %s", strings.Join(differ, "; "))
}

// String is one line with all properties.
func (f fingerprint) String() string {
	var all []string
	for _, p := range f {
		all = append(all, p.Name+" "+p.Value)
	}
	return strings.Join(all, ", ")
}
