// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"fmt"

	"github.com/kernelfold/kernelfold/models/images"
)

func ExampleDigits() {
	set, err := images.Digits(1, 400, 100, images.DigitOptions{Side: 16})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(set.Shape(), len(set.Classes), "classes")
	fmt.Println(set.Train.Len(), "images,", len(set.Train.Images), "numbers")
	// Output:
	// [1 16 16] 10 classes
	// 400 images, 102400 numbers
}

func ExampleLoad() {
	_, err := images.Load("no/such/directory", 0)
	fmt.Println(err)
	// Output:
	// images: stat no/such/directory: no such file or directory
}
