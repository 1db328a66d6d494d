// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/kernelfold/kernelfold/models/images"
)

// A set, its first image, and a part held out for validation.
func Example() {
	set, err := images.Digits(1, 100, 20, images.DigitOptions{Side: 16})
	if err != nil {
		fmt.Println(err)
		return
	}
	size := set.Channels * set.Height * set.Width
	first := set.Train.Images[:size]
	fmt.Println(len(first), "numbers,", set.Classes[set.Train.Labels[0]])

	rest, held, err := set.Train.Holdout(20, 1) // the same share of each class
	fmt.Println(rest.Len(), held.Len(), held.Name, err)
	// Output:
	// 256 numbers, 5
	// 80 20 validation <nil>
}

// Crops and mirror images, drawn anew each time.
func ExampleAugmentation() {
	shape := [3]int{1, 1, 4}
	a := images.Augmentation{Flip: true}
	if err := a.Check(shape); err != nil {
		fmt.Println(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for range 10 {
		dst := make([]float32, 4)
		a.Apply(dst, []float32{1, 2, 3, 4}, shape, rng)
		seen[fmt.Sprint(dst)] = true
	}
	fmt.Println(seen)
	// Output: map[[1 2 3 4]:true [4 3 2 1]:true]
}

// A picture from a file, as an image of the set.
func ExampleSet_LoadImage() {
	dir, err := os.MkdirTemp("", "pictures")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	picture := image.NewGray(image.Rect(0, 0, 64, 48))
	for x := 20; x < 40; x++ {
		picture.Set(x, 24, color.White)
	}
	path := filepath.Join(dir, "stroke.png")
	f, err := os.Create(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := png.Encode(f, picture); err != nil {
		fmt.Println(err)
	}
	if err := f.Close(); err != nil {
		fmt.Println(err)
	}

	set, err := images.Digits(1, 10, 1, images.DigitOptions{Side: 16})
	if err != nil {
		fmt.Println(err)
		return
	}
	x, err := set.LoadImage(path)
	fmt.Println(len(x), "numbers", err)
	// Output: 256 numbers <nil>
}
