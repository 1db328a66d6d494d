// SPDX-License-Identifier: Apache-2.0

// Package isnil recognises arguments that are missing, also if an interface hides a nil pointer.
package isnil

import "reflect"

// Of reports whether v is nil, or a pointer that is.
func Of(v any) bool {
	p := reflect.ValueOf(v)
	return v == nil || p.Kind() == reflect.Pointer && p.IsNil()
}
