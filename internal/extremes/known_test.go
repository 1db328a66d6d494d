// SPDX-License-Identifier: Apache-2.0

package extremes

import "fmt"

// known are the classes of failures that the solvers have today: the fault, the
// precision and the manifolds. What is mended leaves the list; with an empty list TestSample
// accepts no failure.
var known = classes(nil)

// ambientByDefault says that NewSGD has AmbientMomentum where neither kind is named.
const ambientByDefault = false

type knownFault struct {
	fault     Fault
	precision string
	manifolds []string
}

func classes(faults []knownFault) map[string]bool {
	out := map[string]bool{}
	for _, f := range faults {
		for _, m := range f.manifolds {
			out[fmt.Sprintf("%s | %s | %s", f.fault, m, f.precision)] = true
		}
	}
	return out
}
