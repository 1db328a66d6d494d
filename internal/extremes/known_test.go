// SPDX-License-Identifier: Apache-2.0

package extremes

// known are the classes of failures that the solvers have today. A class that is
// mended leaves the list.
var known = map[string]bool{
	"ambient momentum by default": true,
}
