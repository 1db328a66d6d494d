#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the Jupyter kernel of these notebooks and registers it: for the current
# user, or in the first folder of JUPYTER_PATH where that is set. Another Go
# kernel is left as it is. Running it again brings the kernel up to date.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
	printf 'install: %s\n' "$@" >&2
	exit 1
}

command -v go >/dev/null || fail "want Go on the PATH, found none; get it from https://go.dev/dl"
want=$(sed -n 's/^go //p' "$here/kernel/go.mod")
have=$(cd "$here/kernel" && go env GOVERSION 2>/dev/null) || have=
have=${have#go}
[ "$(printf '%s\n' "$want" "$have" | sort -V | head -n 1)" = "$want" ] ||
	fail "want Go $want or later, got Go ${have:-"$(go version)"}; get it from https://go.dev/dl"
command -v jupyter >/dev/null ||
	fail "want jupyter on the PATH, found none; on Debian: apt-get install jupyter-notebook" \
		"(jupyter-nbconvert is enough to execute notebooks without a browser)"

if [ -n "${JUPYTER_PATH:-}" ]; then
	data=${JUPYTER_PATH%%:*}
else
	data=$(jupyter --data-dir) || fail "jupyter --data-dir failed, so there is no telling where kernels go; set JUPYTER_PATH"
fi
kernel=$data/kernels/kernelfold
mkdir -p "$kernel" || fail "cannot make $kernel; set JUPYTER_PATH to a folder that can be written"
kernel=$(cd "$kernel" && pwd)

echo "Building the kernel: up to five minutes the first time, half a minute later."
# Built beside its place, then moved there: a kernel that runs goes on running.
trap 'rm -f "$kernel/kernelfold.tmp"' EXIT
(cd "$here/kernel" && go run . -o "$kernel/kernelfold.tmp") ||
	fail "the kernel was not built; see the messages above" \
		"The first build fetches modules. Where there is no network, set GOPROXY to a proxy that can be reached."
mv "$kernel/kernelfold.tmp" "$kernel/kernelfold"

cat >"$kernel/kernel.json" <<EOF
{
  "argv": ["$kernel/kernelfold", "{connection_file}"],
  "display_name": "Go (Kernelfold)",
  "language": "go",
  "name": "kernelfold",
  "interrupt_mode": "message"
}
EOF

cat <<EOF
Installed the kernel "Go (Kernelfold)" in $kernel
To use it:     jupyter notebook $here
To remove it:  rm -r $kernel
EOF
