// SPDX-License-Identifier: Apache-2.0

//go:build (!amd64 && !arm64) || noasm

package cpu

func detect() Level { return Portable }
