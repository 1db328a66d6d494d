// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"path"
	"runtime"
	"runtime/debug"
	"slices"
)

// Versions returns the versions that numbers depend on: of Go, the platform, Kernelfold and the modules of the given paths, by the last part of a path.
func Versions(modules ...string) map[string]string {
	v := map[string]string{"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v["kernelfold"] = info.Main.Version
	for _, d := range info.Deps {
		if slices.Contains(modules, d.Path) {
			v[path.Base(d.Path)] = d.Version
		}
	}
	return v
}
