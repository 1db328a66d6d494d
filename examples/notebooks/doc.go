// SPDX-License-Identifier: Apache-2.0

// Package notebooks holds Jupyter notebooks and what executes them: install.sh builds and registers the kernel, the program in
// kernel makes it, figures draws what the notebooks show, whole is for types of theirs. The tests here check the notebooks as they
// are committed; executing them needs Jupyter and the kernel, see docs/notebooks.md.
package notebooks
