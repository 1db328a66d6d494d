// SPDX-License-Identifier: Apache-2.0

//go:build !race

package manifoldtest

const raceEnabled = false
