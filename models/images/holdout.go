// SPDX-License-Identifier: Apache-2.0

package images

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Holdout takes n images out of s, the same share of each class to within one image,
// and returns what is left and what was taken, called validation, in memory of their own and in the
// order of s. Which images they are depends on the seed alone.
func (s Split) Holdout(n int, seed uint64) (rest, held Split, err error) {
	if n < 0 || n >= s.Len() {
		return Split{}, Split{}, fmt.Errorf("images: %s: want to hold out fewer than the %d images, and 0 at least, got %d", s.Name, s.Len(), n)
	}
	taken := stratified(s.Labels, n, seed)
	size := len(s.Images) / s.Len()
	rest, held = Split{Name: s.Name}, Split{Name: "validation"}
	for i, l := range s.Labels {
		part := &rest
		if taken[i] {
			part = &held
		}
		part.Labels = append(part.Labels, l)
		part.Images = append(part.Images, s.Images[i*size:(i+1)*size]...)
	}
	return rest, held, nil
}

// stratified says of each of the labels whether it belongs to the n that are taken.
func stratified(labels []int, n int, seed uint64) []bool {
	classes := map[int][]int{}
	for i, l := range labels {
		classes[l] = append(classes[l], i)
	}
	taken := make([]bool, len(labels))
	for _, q := range quotas(classes, n, len(labels)) {
		of := classes[q.label]
		rng := rand.New(rand.NewPCG(seed, uint64(q.label)))
		rng.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		for _, i := range of[:q.images] {
			taken[i] = true
		}
	}
	return taken
}

// quota is how many images of a class are taken.
type quota struct{ label, images, remainder int }

// quotas shares n images out among the classes in proportion to their sizes, which sum to
// total, by largest remainders.
func quotas(classes map[int][]int, n, total int) []quota {
	var qs []quota
	left := n
	for l, of := range classes {
		share := int64(len(of)) * int64(n) // an int of 32 bits may be too small
		q := quota{l, int(share / int64(total)), int(share % int64(total))}
		left -= q.images
		qs = append(qs, q)
	}
	slices.SortFunc(qs, func(a, b quota) int {
		return cmp.Or(cmp.Compare(b.remainder, a.remainder), cmp.Compare(a.label, b.label))
	})
	for i := range left {
		qs[i].images++
	}
	return qs
}
