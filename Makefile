# SPDX-License-Identifier: Apache-2.0

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
ACTIONLINT  = github.com/rhysd/actionlint/cmd/actionlint@v1.7.7
MPIRUN      = mpirun --allow-run-as-root --oversubscribe
MPI         = ./internal/mpi/... ./solvers/distributed/...
QEMU        = qemu-aarch64
KERNELS     = ./internal/vec ./internal/gemm ./internal/fused ./internal/lanes ./internal/winograd
NARROW      = ./internal/... ./manifolds ./models/images ./models/safetensors
CONCURRENT  = ./solvers/... ./nodes/... ./models/... ./internal/par ./internal/gemm ./internal/blas ./internal/scratch ./internal/mpi/... ./internal/disk
NUMERICAL   = Definition$$|IsStock$$|Reference$$|IsTheMean$$|IsThatOfConv2d$$|Winograd$$|^Test(BatchNormFusedIsSeparate|Bombs|CentreOfMassOnHyperbolicSpace|ConstrainStaysOnTheManifold|DirectionsAreTangent|DriftOfSeveralParameters|GroupingsAreGatheredPoints|HugeRates|ImportBiasBeforeBatchNorm|MinimizeBrockett|MinimizeInNoise|Mul|NaturalKeepsConvolutionsOrthogonal|NetsLearn|Normalize|OrderOfSums|PublishedParameters|StepsDoNotAllocate|TooLarge|VGGParameters)$$
ASSEMBLY    = ./manifolds/... ./solvers ./nodes/... ./internal/...
HASWELL     = qemu-x86_64 -cpu Haswell
PARTS       = . ./docs ./interp ./jupyter
LIBRARY     = ./manifolds/... ./solvers/... ./nodes/... ./models/... ./internal/...

# Goes to the kernel of the notebooks; GOFLAGS="$$flags" compiles it with its patched interpreter.
KERNEL      = @dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cd examples/notebooks/kernel && flags=$$(go run . -prepare "$$dir")

.PHONY: check fmt vet staticcheck race levels platforms neon haswell emulated assembly drawings mpi test bench generate picture notebooks execute onnx site browser page load workflows

# Everything a change must pass, beside `go test ./...`.
check: fmt vet staticcheck workflows race levels platforms assembly drawings

fmt:
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt: want these files formatted:"; echo "$$files"; exit 1; fi

vet:
	go vet ./...
	$(KERNEL) && GOFLAGS="$$flags" go vet $(PARTS)

staticcheck:
	go run $(STATICCHECK) ./...
	cd examples/notebooks/kernel && go run $(STATICCHECK) ./...

# The workflows of GitHub, and with shellcheck on the PATH the shell commands in them.
workflows:
	go run $(ACTIONLINT)

# The packages in which goroutines share memory. -short leaves out the tests that run for minutes under
# the race detector, and NUMERICAL those that compare many values, in code whose goroutines other tests use as well.
race:
	go test -race -short -skip '$(NUMERICAL)' -timeout 15m $(CONCURRENT)

# The portable Go alone, the assembly for older machines, and 32 bits: 386 or, on a kernel that runs no such
# programs, arm on an emulator (Debian: qemu-user), there without the long tests of the manifolds.
levels:
	go test -short -tags noasm $(ASSEMBLY)
	GODEBUG=cpu.avx512f=off go test -short $(filter-out ./internal/...,$(ASSEMBLY))
	@if CGO_ENABLED=0 GOARCH=386 go test ./internal/isnil >/dev/null 2>&1; \
	then set -x; CGO_ENABLED=0 GOARCH=386 go test -short -timeout 20m $(NARROW); \
	else set -x; CGO_ENABLED=0 GOARCH=arm KERNELFOLD_EXEC=qemu-arm go test -short -timeout 20m -exec qemu-arm $(filter-out ./manifolds,$(NARROW)); fi

# Every GOOS and GOARCH that Gorgonia compiles for.
platforms:
	go run ./internal/platforms

# The assembly for arm64, on an emulator (Debian: qemu-user).
neon:
	GOARCH=arm64 go vet $(KERNELS)
	CGO_ENABLED=0 GOARCH=arm64 KERNELFOLD_EXEC=$(QEMU) go test -short -timeout 30m -exec $(QEMU) $(KERNELS)

# The assembly for AVX2, on an emulated processor that has no AVX-512: where that is only turned off, a
# register or an instruction of it does no harm (Debian: qemu-user).
haswell:
	CGO_ENABLED=0 GOARCH=amd64 KERNELFOLD_EXEC='$(HASWELL)' go test -short -timeout 30m -exec '$(HASWELL)' $(KERNELS)

# Every package of the library on the emulator for arm64. It takes an hour or more, so it is not part of check.
emulated:
	CGO_ENABLED=0 GOARCH=arm64 KERNELFOLD_EXEC=$(QEMU) go test -short -timeout 120m -exec $(QEMU) $(LIBRARY)

# The assembly is what its generators make now.
assembly:
	cd internal/_gen && go vet ./... && go generate ./...
	git diff --exit-code --stat -- internal

# The drawings in docs/img that programs of this repository make, and the plots of numbers that it keeps, are what they make now.
drawings:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && go run ./docs/draw -out "$$dir" && \
	go run ./examples/ranks -out "$$dir" >/dev/null && go run ./examples/benchmark -scaling -draw docs/img/scaling.json -out "$$dir" >/dev/null && \
	for f in "$$dir"/*.png; do cmp "$$f" docs/img/$$(basename "$$f") || { echo "run make generate"; exit 1; }; done && \
	for set in cifar fashion; do of=docs/experiments/certified-$$set && \
	go run ./examples/certified -draw $$of.json -out "$$dir/$$set" >"$$dir/$$set.txt" && cmp "$$dir/$$set.txt" $$of.txt && cmp "$$dir/$$set/accuracy.png" $$of.png || exit 1; done

# Training on several processes: the tests of one process, then those of 2 and 4. Needs
# Open MPI (Debian: libopenmpi-dev openmpi-bin), pkg-config and a C compiler.
mpi:
	go vet -tags mpi $(MPI)
	go run $(STATICCHECK) -tags mpi $(MPI)
	go test -tags mpi $(MPI)
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && set -e && \
	for p in internal/mpi/mpitest solvers/distributed; do \
		go test -tags mpi -c -o "$$dir/test" ./$$p; \
		for n in 2 4; do echo "$$p on $$n processes"; (cd $$p && $(MPIRUN) -np $$n "$$dir/test" -test.timeout 5m); done; \
	done; \
	go test -tags mpi -c -o "$$dir/test" ./models/train; \
	for n in 2 4; do echo "models/train on $$n processes"; (cd models/train && $(MPIRUN) -np $$n "$$dir/test" -test.timeout 5m -test.run Ranks); done; \
	go build -tags mpi -o "$$dir/classify" ./examples/classify; \
	$(MPIRUN) -np 2 "$$dir/classify" -model resnet8 -limit 120 -batch 24 -epochs 1 -sync-batch-norm -out "$$dir/run" >"$$dir/out"; \
	$(MPIRUN) -np 4 "$$dir/classify" -out "$$dir/run" -resume -epochs 2 >"$$dir/out"; \
	tail -n 1 "$$dir/out"; test $$(wc -l <"$$dir/run/log.csv") -eq 3

generate:
	go run ./docs/draw -out docs/img
	cd internal/_gen && go generate ./...

# The picture of the README: its numbers differ from machine to machine in the
# last digits, so it is not compared.
picture:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && go run ./examples/compare -out "$$dir" && cp "$$dir/accuracy.png" docs/img/

test:
	go test ./...

bench:
	go test -run '^$$' -bench . -benchmem ./solvers/... ./nodes/...

# Writes nets in the format ONNX and has them checked and run by others. Needs Debian's python3-onnx, node, and a folder ONNXRUNTIME in which
# `npm install onnxruntime-web` has been called; it installs nothing.
onnx:
	@test -d "$(ONNXRUNTIME)/node_modules/onnxruntime-web" || { echo "want ONNXRUNTIME, a folder in which npm install onnxruntime-web has been called"; exit 1; }
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && set -e && \
	KERNELFOLD_ONNX=$$dir go test -count 1 -run Write ./models/onnx && \
	/usr/bin/python3 models/onnx/testdata/check.py "$$dir" && node models/onnx/testdata/check.mjs "$$dir" "$(ONNXRUNTIME)"

# Installs the kernel of the notebooks: docs/notebooks.md.
notebooks:
	examples/notebooks/install.sh

# Executes the notebooks, and writes what they put out into them and docs/img.
# KERNELFOLD_DATA names the folder of the data sets.
execute:
	@command -v jupyter-nbconvert >/dev/null || { echo "execute: want jupyter-nbconvert on the PATH, found none; on Debian:" \
		"apt-get install --no-install-recommends jupyter-nbconvert"; exit 1; }
	cd examples/notebooks && jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.timeout=600 *.ipynb
	go test ./examples/notebooks -run Pictures -update

# The documentation as a site, in docs/site/.vitepress/dist, with its links checked. Needs Node.js 20 or later.
site:
	cd docs/site && npm ci --no-fund --no-audit && npm run build && npm run check

# Tests the notebooks and their kernel in a browser, and says where the screenshots are. It names the Debian packages that it
# needs and are missing.
browser:
	examples/notebooks/browser.py --out "$${OUT:-$$(mktemp -d)}"

# Tests the page of examples/classify -serve in a browser, and says where the screenshots are. It names the Debian packages that it
# needs and are missing.
page:
	examples/classify/browser.py --out "$${OUT:-$$(mktemp -d)}"

# Ten thousand requests to a server, a quarter of them junk: each is answered, and memory stays bounded.
load:
	KERNELFOLD_LOAD=10000 go test -count 1 -v -run Load ./models/serve
