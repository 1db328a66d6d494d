// SPDX-License-Identifier: Apache-2.0

package extremes

import "fmt"

// known lists the classes of failures that the solvers are known to have: the fault, the precision
// and the manifolds. With an empty list TestSample accepts no failure.
var known = classes(nil)

// ambientByDefault says whether NewSGD uses AmbientMomentum if neither kind is named.
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
