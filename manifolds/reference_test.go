// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Operations agree with values that NumPy and SciPy computed in float64 by other formulas:
// testdata/reference.py. Wide points are the transposes of tall ones.
func TestReference(t *testing.T) { testReference(t, "reference.json") }

// Operations agree with those of geoopt and pymanopt: testdata/peers.py, which also says where they differ.
func TestPeers(t *testing.T) { testReference(t, "peers.json") }

func testReference(t *testing.T, file string) {
	text, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	var cases []struct {
		Manifold, Op string
		Radius       float64
		N, P         int
		Args         [][]float64
		Want         []float64
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	of := map[string]func(r float64) manifolds.Manifold{
		"Stiefel":      func(r float64) manifolds.Manifold { return manifolds.Stiefel{Radius: r} },
		"Stiefel QR":   func(r float64) manifolds.Manifold { return manifolds.Stiefel{Radius: r} },
		"Sphere":       func(r float64) manifolds.Manifold { return manifolds.Sphere{Radius: r, Geodesic: true} },
		"Oblique":      func(r float64) manifolds.Manifold { return manifolds.Oblique{Radius: r, Geodesic: true} },
		"SpectralBall": func(r float64) manifolds.Manifold { return manifolds.SpectralBall{Radius: r} },
		"Stiefel canonical": func(r float64) manifolds.Manifold {
			return manifolds.Stiefel{Radius: r, Metric: manifolds.CanonicalMetric}
		},
		"Grassmann": func(r float64) manifolds.Manifold { return manifolds.Grassmann{Radius: r, Geodesic: true} },
		"Orthogonal": func(r float64) manifolds.Manifold {
			return manifolds.Orthogonal{Radius: r, Retraction: manifolds.Geodesic}
		},
		"SpecialOrthogonal": func(r float64) manifolds.Manifold {
			return manifolds.SpecialOrthogonal{Radius: r, Retraction: manifolds.Geodesic}
		},
	}
	plain := map[string]func(r float64) manifolds.Manifold{ // with the retraction that is not the exponential map
		"Grassmann": func(r float64) manifolds.Manifold { return manifolds.Grassmann{Radius: r} },
		"Stiefel": func(r float64) manifolds.Manifold {
			return manifolds.Stiefel{Radius: r, Retraction: manifolds.Cayley}
		},
		"Stiefel QR": func(r float64) manifolds.Manifold { return manifolds.Stiefel{Radius: r} },
		"Stiefel polar": func(r float64) manifolds.Manifold {
			return manifolds.Stiefel{Radius: r, Retraction: manifolds.Polar}
		},
		"Stiefel Cayley": func(r float64) manifolds.Manifold {
			return manifolds.Stiefel{Radius: r, Retraction: manifolds.Cayley}
		},
		"Sphere":            func(r float64) manifolds.Manifold { return manifolds.Sphere{Radius: r} },
		"Orthogonal":        func(r float64) manifolds.Manifold { return manifolds.Orthogonal{Radius: r} },
		"Oblique":           func(r float64) manifolds.Manifold { return manifolds.Oblique{Radius: r} },
		"SpecialOrthogonal": func(r float64) manifolds.Manifold { return manifolds.SpecialOrthogonal{Radius: r} },
		"SpecialOrthogonal QR": func(r float64) manifolds.Manifold {
			return manifolds.SpecialOrthogonal{Radius: r, Retraction: manifolds.QR}
		},
		"SpecialOrthogonal polar": func(r float64) manifolds.Manifold {
			return manifolds.SpecialOrthogonal{Radius: r, Retraction: manifolds.Polar}
		},
	}
	for i, c := range cases {
		for _, wide := range []bool{false, true} {
			if wide && (c.N == c.P || c.Manifold == "Oblique") { // the transpose is another point
				continue
			}
			for _, single := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d %s %s %dx%d wide=%v float32=%v", i, c.Manifold, c.Op, c.N, c.P, wide, single), func(t *testing.T) {
					var x []manifolds.Points
					for _, a := range c.Args {
						x = append(x, oriented(t, a, c.N, c.P, wide, single))
					}
					var m manifolds.Manifold
					if at := of[c.Manifold]; at != nil {
						m = at(c.Radius)
					}
					if c.Manifold == "GeneralizedStiefel" {
						m = generalized(t, c.N, c.Radius)
					}
					dst, out := x[0].Like(), []float64{0}
					switch c.Op {
					case "project":
						err = m.Project(dst, x[0])
					case "tangent":
						err = m.Tangent(dst, x[0], x[1])
					case "gradient":
						err = manifolds.Gradient(m, dst, x[0], x[1])
					case "retract":
						if at := plain[c.Manifold]; at != nil {
							m = at(c.Radius)
						}
						err = m.Retract(dst, x[0], x[1])
					case "transport":
						err = plain[c.Manifold](c.Radius).Transport(dst, x[0], x[1], x[2])
					case "exp":
						err = m.(manifolds.Exponential).Exp(dst, x[0], x[1])
					case "log":
						err = m.(manifolds.Logarithm).Log(dst, x[0], x[1])
					case "inverse":
						err = plain[c.Manifold](c.Radius).(manifolds.Inverse).InverseRetract(dst, x[0], x[1])
					case "parallel":
						err = m.(manifolds.ParallelTransporter).ParallelTransport(dst, x[0], x[1], x[2])
					case "along":
						err = m.(manifolds.PathTransporter).TransportAlong(dst, x[0], x[1], x[2], x[3])
					case "dist":
						err = m.(manifolds.Logarithm).Dist(out, x[0], x[1])
					case "inner":
						err = manifolds.Inner(m, out, x[0], x[1], x[2])
					default:
						t.Fatalf("no operation %q", c.Op)
					}
					require.NoError(t, err)
					size := 0.0
					for _, a := range c.Args {
						for _, v := range a {
							size = math.Hypot(size, v)
						}
					}
					tol := 1e-13 * size // both sides are conditioned better than 100
					if single {
						tol = 4e-6 * size
					}
					if len(c.Want) == 1 && c.N*c.P > 1 {
						require.InDelta(t, c.Want[0], out[0], tol)
						return
					}
					want := oriented(t, c.Want, c.N, c.P, wide, false)
					for i := range want.N {
						for j := range want.P {
							require.InDelta(t, want.At(0, i, j), dst.At(0, i, j), tol)
						}
					}
				})
			}
		}
	}
}

// generalized returns the manifold of B = diag(1 + i/n) + 0.1, as testdata/reference.py has it.
func generalized(t *testing.T, n int, r float64) manifolds.Manifold {
	b := make([]float64, n*n)
	for i := range b {
		b[i] = 0.1
	}
	for i := range n {
		b[i*n+i] += 1 + float64(i)/float64(n)
	}
	m, err := manifolds.NewGeneralizedStiefel(n, b)
	require.NoError(t, err)
	m.Radius = r
	return m
}

// oriented returns the point with the given values, n x p in row-major order, or its transpose.
func oriented(t *testing.T, values []float64, n, p int, wide, single bool) manifolds.Points {
	rows, cols := n, p
	if wide {
		rows, cols = p, n
	}
	x := points64(t, make([]float64, n*p), 1, rows, cols)
	if single {
		x = points32(t, make([]float32, n*p), 1, rows, cols)
	}
	for i := range n {
		for j := range p {
			if v := values[i*p+j]; wide {
				x.Set(0, j, i, v)
			} else {
				x.Set(0, i, j, v)
			}
		}
	}
	return x
}
