// SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package cpu

func detect() Level { return NEON }
