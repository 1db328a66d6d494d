// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
)

func (s *settings) scale(ctx context.Context, stdout io.Writer, p *progress) error { return nil }
