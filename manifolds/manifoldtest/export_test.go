// SPDX-License-Identifier: Apache-2.0

package manifoldtest

// RaceEnabled is raceEnabled, for the external tests.
const RaceEnabled = raceEnabled
