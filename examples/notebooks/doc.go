// SPDX-License-Identifier: Apache-2.0

// Package notebooks holds Jupyter notebooks and the programs for them: install.sh builds and registers the
// kernel, the program in kernel generates it, figures draws the figures of the notebooks, and whole supports
// types defined in notebooks. The tests here check the notebooks as they are committed; executing them needs
// Jupyter and the kernel, see docs/notebooks.md.
package notebooks
