// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// BenchmarkLoading trains a ResNet-18 on one core with batches of 8 JPEG pictures of about 480 pixels a side, cropped and mirrored to 224. It
// reports for how much of the time the steps wait for pictures, of which the first batch of a run is the most, and how much more processor time they
// take than with images in memory.
func BenchmarkLoading(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const batch = 8
	dir := b.TempDir()
	require.NoError(b, images.Draw(b.Context(), dir, images.DrawOptions{Classes: "AB", PerClass: 40, Side: 480}))
	pictures, err := images.Folder(dir, images.FolderOptions{Transform: images.StandardTransform()})
	require.NoError(b, err)
	memory := train.Tensors{
		tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(pictures.Len(), 3, 224, 224)),
		tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(pictures.Len(), 2)),
	}
	for i := range pictures.Len() {
		image, target := memory[0].Data().([]float32), memory[1].Data().([]float32)
		const size = 3 * 224 * 224
		require.NoError(b, pictures.Example(i, []any{image[i*size : (i+1)*size], target[2*i : 2*i+2]}, nil))
	}
	m, err := models.ImageNetResNet(batch, 18, models.Options{Shape: pictures.Shape(), Classes: 2})
	require.NoError(b, err)
	epoch := func(data train.Data) (e train.Epoch, cpu time.Duration) {
		before := processorTime(b)
		epochs, err := train.Fit(context.Background(), m, solvers.NewSGD(solvers.LearnRate(1e-4)), data, train.Options{Epochs: 1})
		require.NoError(b, err)
		return epochs[0], processorTime(b) - before
	}
	epoch(memory)
	var elapsed, waited, loading, without time.Duration
	for b.Loop() {
		e, cpu := epoch(pictures)
		elapsed, waited, loading = elapsed+e.Elapsed, waited+e.Waited, loading+cpu
		_, cpu = epoch(memory)
		without += cpu
	}
	b.ReportMetric(100*waited.Seconds()/elapsed.Seconds(), "%waited")
	b.ReportMetric(100*(loading.Seconds()/without.Seconds()-1), "%work")
}

// processorTime is that of the process until now.
func processorTime(t testing.TB) time.Duration {
	var s unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &s))
	return time.Duration(s.Nano())
}
