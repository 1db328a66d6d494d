// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestScale(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scale.json")
	var table bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"-limit", "64", "-epochs", "1", "-only", "Stiefel bank, unit filters, g_t", "-out", file, "scale"}, &table, io.Discard))
	assert.Contains(t, table.String(), "Stiefel bank, unit filters, g_t")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var rows []row
	require.NoError(t, json.Unmarshal(text, &rows))
	require.Len(t, rows, 2, "without and with batch norm")
	for _, r := range rows {
		assert.Equal(t, rates, r.Rates)
		require.Len(t, r.Accuracy, len(rates))
		for _, a := range r.Accuracy {
			assert.True(t, a >= 0 && a <= 1, "accuracy %g", a)
		}
	}
}

func TestBadInput(t *testing.T) {
	for want, args := range map[string][]string{
		"want the name of an experiment": {"scales"},
		"-limit":                         {"-limit", "3", "scale"},
		"no such file":                   {"-data", filepath.Join(t.TempDir(), "none"), "scale"},
	} {
		assert.ErrorContains(t, run(context.Background(), args, io.Discard, io.Discard), want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, run(ctx, []string{"-limit", "64", "scale"}, io.Discard, io.Discard), context.Canceled)
}
