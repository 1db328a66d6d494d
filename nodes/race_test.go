// SPDX-License-Identifier: Apache-2.0

//go:build race

package nodes

import "github.com/kernelfold/kernelfold/internal/cpu"

// Under the race detector, which is slow and sees no assembly, convolutions run with the instructions of the machine alone: what
// goroutines share does not depend on them.
func init() { levels = func() []cpu.Level { return []cpu.Level{cpu.Use} } }
