// SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/cpu"
)

// The kernels for AVX-512 make masks with BMI2, which a virtual machine may not show.
func TestDetectWithoutBMI2(t *testing.T) {
	defer func(has bool) { cpu.X86.HasBMI2 = has }(cpu.X86.HasBMI2)
	cpu.X86.HasBMI2 = false
	assert.LessOrEqual(t, detect(), AVX2)
}
