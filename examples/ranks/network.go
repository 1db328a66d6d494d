// SPDX-License-Identifier: Apache-2.0

package main

import "math/bits"

// network connects the ranks, one on each machine: n bytes from one to another take alpha + beta n seconds,
// and gamma n more if they are added to others (Hockney 1994). Each machine can send and receive at the same
// time, without contention.
type network struct {
	name               string
	alpha, beta, gamma float64 // s, s a byte, s a byte
}

// nominal lists networks with published figures: docs/scaling.md has the sources. Bandwidths are those of the standards, latencies those of MPI.
var nominal = []network{
	link("1 Gb/s Ethernet", 25, 1),
	link("10 Gb/s Ethernet", 10, 10),
	link("25 Gb/s RoCE", 1.5, 25),
	link("100 Gb/s InfiniBand", 1, 100),
	link("400 Gb/s InfiniBand", 1, 400),
}

// link is a network by its latency in microseconds and its bandwidth in Gb/s.
func link(name string, latency, bandwidth float64) network {
	return network{name: name, alpha: latency * 1e-6, beta: 8 / (bandwidth * 1e9)}
}

// rounds is the logarithm of p to base 2, rounded up.
func rounds(p int) float64 { return float64(bits.Len(uint(p - 1))) }

// allReduce is the time of a sum of n bytes over p ranks, the least of three algorithms (Thakur, Rabenseifner and Gropp, IJHPCA
// 2005, section 4.5; the ring: Patarasu and Yuan, JPDC 2009):
//
//	recursive doubling            ceil(log2 p) (alpha + n beta + n gamma)
//	recursive halving, doubling   2 log2 p alpha + (p-1)/p n (2 beta + gamma)
//	ring                          2 (p-1) alpha  + (p-1)/p n (2 beta + gamma)
//
// The second is for powers of two. With other p the ranks beyond the next smaller one first hand over their vectors, and get
// the sum at the end: 2 alpha + 2 n beta + n gamma more.
func (w network) allReduce(p int, bytes int) float64 {
	if p == 1 {
		return 0
	}
	n, part := float64(bytes), float64(p-1)/float64(p)
	doubling := rounds(p) * (w.alpha + n*(w.beta+w.gamma))
	ring := 2*float64(p-1)*w.alpha + part*n*(2*w.beta+w.gamma)
	most := 1 << (bits.Len(uint(p)) - 1) // ranks that halve
	halving := 2*rounds(most)*w.alpha + float64(most-1)/float64(most)*n*(2*w.beta+w.gamma)
	if most < p {
		halving += 2*w.alpha + n*(2*w.beta+w.gamma)
	}
	return min(doubling, halving, ring)
}

// summed is the number of bytes that internal/mpi sums in one call.
const summed = 1 << 22

// sum is the time of a sum of n bytes as internal/mpi makes it, in parts.
func (w network) sum(p, bytes int) float64 {
	return float64(bytes/summed)*w.allReduce(p, summed) + w.allReduce(p, bytes%summed)*float64(min(1, bytes%summed))
}

// gather is the time of gathering n bytes on all of p ranks, each of which contributes the same amount: ceil(log2 p) alpha + (p-1)/p n beta
// (section 4.1 there).
func (w network) gather(p, bytes int) float64 {
	return rounds(p)*w.alpha + float64(p-1)/float64(p)*float64(bytes)*w.beta
}

// broadcast is the time of sending n bytes from one rank to p ranks, the smaller of that of a tree, ceil(log2 p) (alpha + n beta), and a scatter
// with a gather, (ceil(log2 p) + p-1) alpha + 2 (p-1)/p n beta (section 4.2 there).
func (w network) broadcast(p, bytes int) float64 {
	if p == 1 || bytes == 0 {
		return 0
	}
	n, q := float64(bytes), float64(p)
	return min(rounds(p)*(w.alpha+n*w.beta), (rounds(p)+q-1)*w.alpha+2*(q-1)/q*n*w.beta)
}

// exchange is the time after which every rank has the parts of all, as solvers/distributed exchanges them: by a gather of parts as long as the
// longest one where that is shorter, else by a broadcast of each.
func (w network) exchange(parts []int) float64 {
	p, longest, total := len(parts), 0, 0
	for _, n := range parts {
		longest, total = max(longest, n), total+n
	}
	if (p-1)*longest <= total {
		return w.gather(p, p*longest)
	}
	t := 0.0
	for _, n := range parts {
		t += w.broadcast(p, n)
	}
	return t
}
