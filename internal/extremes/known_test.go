// SPDX-License-Identifier: Apache-2.0

package extremes

import "fmt"

// known are the classes of failures that the solvers have today: the fault, the
// precision and the manifolds. What is mended leaves the list; with an empty list TestSample
// accepts no failure.
var known = classes([]knownFault{
	{WrongKind, "float32", []string{"Stiefel.cholesky", "Stiefel.qr", "Stiefel.polar", "Stiefel.geodesic", "Stiefel.canonical.cholesky", "Stiefel.canonical.qr", "Stiefel.canonical.polar", "Stiefel.canonical.geodesic"}},
	{Unjustified, "float32", []string{"Euclidean", "Sphere", "Sphere.geodesic", "CentredSphere", "CentredSphere.geodesic", "Oblique.columns", "Oblique.columns.geodesic", "Oblique.rows", "Oblique.rows.geodesic", "Stiefel.cholesky", "Stiefel.qr", "Stiefel.polar", "Stiefel.geodesic", "Stiefel.canonical.cholesky", "Stiefel.canonical.qr", "Stiefel.canonical.polar", "Stiefel.canonical.geodesic"}},
	{Unjustified, "float64", []string{"Euclidean", "Sphere", "Sphere.geodesic", "CentredSphere", "CentredSphere.geodesic", "Oblique.columns", "Oblique.columns.geodesic", "Oblique.rows", "Oblique.rows.geodesic", "Stiefel.cholesky", "Stiefel.qr", "Stiefel.polar", "Stiefel.geodesic", "Stiefel.canonical.cholesky", "Stiefel.canonical.qr", "Stiefel.canonical.polar", "Stiefel.canonical.geodesic"}},
	{NaN, "float32", []string{"Euclidean", "Sphere", "Sphere.geodesic", "CentredSphere", "CentredSphere.geodesic", "Oblique.columns", "Oblique.columns.geodesic", "Oblique.rows", "Oblique.rows.geodesic", "Stiefel.cholesky", "Stiefel.qr", "Stiefel.polar", "Stiefel.geodesic", "Stiefel.canonical.cholesky", "Stiefel.canonical.qr", "Stiefel.canonical.polar", "Stiefel.canonical.geodesic"}},
	{NaN, "float64", []string{"Sphere", "CentredSphere", "Oblique.columns", "Oblique.rows"}},
	{OffManifold, "float32", []string{"Sphere", "CentredSphere", "CentredSphere.geodesic", "Stiefel.cholesky", "Stiefel.canonical.cholesky"}},
	{OffManifold, "float64", []string{"CentredSphere", "Stiefel.cholesky", "Stiefel.canonical.cholesky"}},
	{Panic, "float32", []string{"Euclidean"}},
	{Panic, "float64", []string{"Euclidean"}},
	{LeftBehind, "float32", []string{"Sphere", "Sphere.geodesic", "CentredSphere", "CentredSphere.geodesic", "Oblique.columns", "Oblique.columns.geodesic", "Oblique.rows", "Oblique.rows.geodesic", "Stiefel.cholesky"}},
	{LeftBehind, "float64", []string{"Sphere", "CentredSphere", "Oblique.columns", "Oblique.rows", "Stiefel.cholesky", "Stiefel.polar"}},
	{WrongState, "float32", []string{"Sphere", "Sphere.geodesic", "CentredSphere", "CentredSphere.geodesic", "Oblique.columns", "Oblique.columns.geodesic", "Oblique.rows", "Oblique.rows.geodesic", "Stiefel.canonical.cholesky", "Stiefel.canonical.qr", "Stiefel.canonical.polar", "Stiefel.canonical.geodesic"}},
	{WrongState, "float64", []string{"Sphere.geodesic", "CentredSphere.geodesic", "Oblique.columns.geodesic", "Oblique.rows.geodesic"}},
	{WrongWeights, "float32", []string{"CentredSphere", "Oblique.columns", "Stiefel.cholesky", "Stiefel.qr", "Stiefel.polar", "Stiefel.geodesic", "Stiefel.canonical.cholesky", "Stiefel.canonical.qr", "Stiefel.canonical.polar", "Stiefel.canonical.geodesic"}},
	{WrongWeights, "float64", []string{"CentredSphere", "Oblique.columns", "Oblique.columns.geodesic", "Stiefel.polar", "Stiefel.geodesic", "Stiefel.canonical.geodesic"}},
})

// ambientByDefault says that NewSGD has AmbientMomentum where neither kind is named.
const ambientByDefault = true

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
